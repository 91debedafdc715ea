/*
 * Processes that a supervisor has left behind. Supervisors are killed only when they hang, or by a command of root where
 * they could not change their user. All this is for the main thread: while it looks, no new supervisor begins.
 */
#include "orphans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "loop.h"
#include "memory.h"
#include "processes.h"

#define AGAIN 50

static struct timer again;

static void kill_again(struct timer *timer) {
  (void)timer;
  orphans_kill();
}

long orphans_kill(void) {
  struct processes processes = {0};
  if (!processes_read(&processes)) {
    processes_free(&processes);
    return -1;
  }
  size_t count;
  pid_t *supervisors = commands_supervisors(false, &count);
  size_t killed = processes_kill(&processes, getpid(), supervisors, count);
  free(supervisors);
  processes_free(&processes);
  if (killed > 0 && again.at == 0) {
    again.call = kill_again;
    timer_set(&again, AGAIN);
  }
  return (long)killed;
}

char *orphans_describe(void) {
  struct processes processes = {0};
  char *result = text("processes do not end:");
  size_t count;
  pid_t *supervisors = commands_supervisors(true, &count);
  if (processes_read(&processes)) {
    processes_mark(&processes, getpid());
    for (size_t i = 0; i < processes.count && strlen(result) < 400; i++) {
      const struct process *process = &processes.list[i];
      bool spared = false;
      for (const struct process *at = process; at != NULL && !spared; at = processes_find(&processes, at->parent))
        for (size_t j = 0; j < count; j++) spared = spared || at->pid == supervisors[j];
      if (!process->below || spared || process->state == 'Z') continue;
      char *longer = text("%s %d (%c)", result, process->pid, process->state);
      free(result);
      result = longer;
    }
  }
  free(supervisors);
  processes_free(&processes);
  return result;
}
