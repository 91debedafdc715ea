/* The main thread's loop: descriptors, timers, and calls from other threads. */
#ifndef EFFECT_SANDBOX_LOOP_H
#define EFFECT_SANDBOX_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* A descriptor that the loop looks after. Lives inside what owns it. `ready` must bear being called without need. */
struct source {
  int fd;
  bool watched;
  uint32_t events;
  void (*ready)(struct source *, uint32_t events);
};

/* Starts watching, or changes what is watched for (EPOLLIN, EPOLLOUT; errors and hang-ups are always told). */
void loop_watch(struct source *, uint32_t events);
/* To be called before the descriptor is closed: a child that was just forked still has a copy of it for a moment. */
void loop_unwatch(struct source *);
/* Frees memory that holds a source once no event of this turn can refer to it any more. */
void loop_bury(void *memory);

struct timer {
  uint64_t at; /* 0 when it is not set */
  void (*call)(struct timer *);
  struct timer *next;
};
void timer_set(struct timer *, uint64_t milliseconds);
void timer_clear(struct timer *);

/* Calls this once, when what the turn has to say was sent. One at a time. */
void loop_later(void (*call)(void));

/* Milliseconds, monotonic. */
uint64_t loop_now(void);

void loop_start(void);
/* Wakes the main thread, so that it looks at the queue of frames; from any thread. */
void loop_wake(void);
_Noreturn void loop_run(void);

#endif
