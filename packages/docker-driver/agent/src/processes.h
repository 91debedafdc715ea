/*
 * A look at the processes there are. For supervisors as well: nothing here allocates through the C library, takes a
 * lock, or keeps anything between calls.
 */
#ifndef EFFECT_SANDBOX_PROCESSES_H
#define EFFECT_SANDBOX_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What getdents64 gives: opendir allocates. */
struct directory_entry {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
};

struct process {
  pid_t pid, parent, group; /* the parent: of what wears a badge, the supervisor that it names */
  pid_t badge; /* 0 without one */
  int threads;
  char state;
  bool below; /* comes from the process that `processes_mark` was called with */
  bool known; /* whether `below` has been worked out */
};

struct processes {
  struct process *list; /* by number */
  size_t count, capacity;
  size_t missed; /* that ended before they could be looked at */
};

/*
 * Where the system gives orphans to process 1 whatever we ask for (gVisor's release of December 2022), commands wear a
 * badge: one more group, which names their supervisor. It goes along with fork and exec, and who has no capabilities
 * cannot take it off but in a user namespace of their own. To be called before the first command.
 */
void processes_use_badges(void);
bool processes_have_badges(void);
gid_t processes_badge(pid_t supervisor);

/* False when /proc is missing or shows another set of processes. Starts with {0}; may be called again. */
bool processes_read(struct processes *);
void processes_mark(struct processes *, pid_t root);
const struct process *processes_find(const struct processes *, pid_t pid);
void processes_free(struct processes *);
/* Whether anything below `root` may be there, dead or alive. Only for this, looks again when some were missed. */
bool processes_left(struct processes *, pid_t root);

/*
 * Kills everything below `root` but the `spare_count` processes in `spare` and what is below them. Works against those
 * that fork faster than one can kill: they are all stopped first. Returns how many it found alive.
 */
size_t processes_kill(struct processes *, pid_t root, const pid_t *spare, size_t spare_count);

#endif
