/* The commands that run inside. */
#ifndef EFFECT_SANDBOX_COMMANDS_H
#define EFFECT_SANDBOX_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "agent.h"

/* What RUN says. */
struct run_fields {
  uint8_t flags;
  char *user, *cwd;
  char **argv, **env; /* end with NULL */
  size_t argc;
  struct run_descriptor { uint32_t fd; uint8_t direction; } *descriptors;
  size_t descriptor_count;
  struct run_limit { uint8_t resource; uint64_t soft, hard; } *limits;
  size_t limit_count;
  uint16_t rows, columns;
};
/* NULL, or what is malformed. */
const char *run_decode(struct reader *, struct run_fields *);
void run_free(struct run_fields *);

/* `descriptors`: the limit that commands get. */
void commands_start(const struct rlimit *descriptors);
void run_request(uint32_t channel, struct reader *);
/* Reaps children; called when there was a SIGCHLD. */
void commands_reap(void);

/* Whether there was a command of the agent's own user. */
bool commands_of_root(void);

/*
 * Kills everything that came from commands of sessions, and ends their channels. `reset_command_gone` is called for each
 * when it is over.
 */
void commands_kill_sessions(void);
/* How many commands of sessions there are of which something is left. */
size_t commands_of_sessions(void);
/* Whether anything is left of commands of the sandbox. */
bool commands_of_sandbox(void);
/* The supervisors that there are (malloc), or those that belong to the sandbox; with one that waits for its command. */
pid_t *commands_supervisors(bool sandbox_only, size_t *count);

#endif
