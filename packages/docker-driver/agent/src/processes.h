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
  pid_t pid, parent, group;
  int threads;
  char state;
  bool below; /* comes from the process that `processes_mark` was called with */
  bool known; /* whether `below` has been worked out */
};

struct processes {
  struct process *list; /* by number */
  size_t count, capacity;
};

/* False when /proc is missing or shows another set of processes. Starts with {0}; may be called again. */
bool processes_read(struct processes *);
void processes_mark(struct processes *, pid_t root);
const struct process *processes_find(const struct processes *, pid_t pid);
void processes_free(struct processes *);

/*
 * Kills everything below `root` but the `spare_count` processes in `spare` and what is below them. Works against those
 * that fork faster than one can kill: they are all stopped first. Returns how many it found alive.
 */
size_t processes_kill(struct processes *, pid_t root, const pid_t *spare, size_t spare_count);

#endif
