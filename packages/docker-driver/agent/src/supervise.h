/*
 * The supervisor of a command: a process between the agent and the command, to which everything that comes from the
 * command stays attached, whatever it does. It ends when nothing of it is left.
 */
#ifndef EFFECT_SANDBOX_SUPERVISE_H
#define EFFECT_SANDBOX_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Supervisors run as this user, so that even commands of root cannot reach them (they have no CAP_KILL). */
#define SUPERVISOR_USER 64998u

struct limit {
  uint32_t resource;
  struct rlimit value;
};

struct descriptor {
  int from, to;
};

/* A command, with everything that can be prepared before the fork: after it, nothing may allocate. */
struct launch {
  char **argv, **env;
  char **candidates; /* paths to try one after the other; ends with NULL */
  const char *cwd;
  struct descriptor *descriptors;
  size_t descriptor_count;
  bool terminal; /* descriptor 0 becomes the controlling terminal */
  uid_t uid;
  gid_t gid;
  gid_t *groups; /* with room for one more */
  size_t group_count;
  const struct limit *limits;
  size_t limit_count;
};

enum report_kind { REPORT_STARTED, REPORT_FAILED, REPORT_EXIT, REPORT_GONE };

/* What supervisors say, over one pipe for all of them. */
struct report {
  pid_t supervisor;
  uint8_t kind, stage;
  bool gone;      /* REPORT_EXIT: and so is its whole process group, which else a REPORT_GONE says */
  int32_t error;  /* REPORT_FAILED */
  pid_t pid;      /* of the command */
  int32_t status; /* REPORT_EXIT: as wait4 gives it */
  uint64_t user_time, system_time, memory;
};

/* Before the first command. `report` is the writing end of the pipe. */
void supervise_start(int report, const struct rlimit *descriptors);
/* Starts a supervisor; -1 and errno when there can be none. */
pid_t supervise(const struct launch *);
/* Has a supervisor wait for the next command, unless one does or there can be none. */
void supervise_ahead(void);

/* To a supervisor: passes a signal on (enum signal_target). */
void supervisor_signal(pid_t supervisor, uint8_t target, uint32_t signal);
/* To a supervisor: kills everything, and ends. */
void supervisor_kill(pid_t supervisor);

#endif
