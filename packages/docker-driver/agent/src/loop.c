/* The main thread's loop: descriptors, timers, and calls from other threads. */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "memory.h"
#include "queue.h"
#include "streams.h"

#define EVENTS_PER_TURN 64

static int epoll_fd = -1;

void loop_watch(struct source *source, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = source};
  if (source->watched && source->events == events) return;
  if (epoll_ctl(epoll_fd, source->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, source->fd, &event) != 0)
    die("cannot watch a descriptor");
  source->watched = true;
  source->events = events;
}

void loop_unwatch(struct source *source) {
  if (!source->watched) return;
  epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
  source->watched = false;
}

/* --- what is freed at the end of a turn ------------------------------------------------------------------------------- */

static void **graves;
static size_t grave_count, grave_capacity;

void loop_bury(void *memory) {
  if (grave_count == grave_capacity) {
    grave_capacity = grave_capacity == 0 ? 64 : grave_capacity * 2;
    graves = resize_array(graves, grave_capacity, sizeof *graves);
  }
  graves[grave_count++] = memory;
}

static void bury(void) {
  while (grave_count > 0) free(graves[--grave_count]);
}

/* --- timers: few at a time, so a list will do ---------------------------------------------------------------------------- */

static struct timer *timers;

uint64_t loop_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void timer_clear(struct timer *timer) {
  if (timer->at == 0) return;
  struct timer **link = &timers;
  while (*link != timer) link = &(*link)->next;
  *link = timer->next;
  timer->at = 0;
}

void timer_set(struct timer *timer, uint64_t milliseconds) {
  timer_clear(timer);
  timer->at = loop_now() + milliseconds;
  timer->next = timers;
  timers = timer;
}

static int timeout(void) {
  if (timers == NULL) return -1;
  uint64_t first = timers->at;
  for (const struct timer *timer = timers->next; timer != NULL; timer = timer->next)
    if (timer->at < first) first = timer->at;
  uint64_t now = loop_now();
  return first <= now ? 0 : first - now > 60000 ? 60000 : (int)(first - now);
}

static void run_timers(void) {
  if (timers == NULL) return;
  uint64_t now = loop_now();
  for (;;) {
    struct timer *due = timers;
    while (due != NULL && due->at > now) due = due->next;
    if (due == NULL) return;
    timer_clear(due);
    due->call(due);
  }
}

/* --- calls from other threads -------------------------------------------------------------------------------------------- */

struct call {
  void (*call)(void *);
  void *argument;
  struct call *next;
};

static pthread_mutex_t calls_lock = PTHREAD_MUTEX_INITIALIZER;
static struct call *first_call, **last_call = &first_call;
static struct source wake_up;

void loop_wake(void) {
  uint64_t one = 1;
  ssize_t written = write(wake_up.fd, &one, sizeof one);
  (void)written; /* full means that it is awake already */
}

void on_main(void (*call)(void *argument), void *argument) {
  struct call *entry = allocate(sizeof *entry);
  *entry = (struct call){.call = call, .argument = argument, .next = NULL};
  pthread_mutex_lock(&calls_lock);
  *last_call = entry;
  last_call = &entry->next;
  pthread_mutex_unlock(&calls_lock);
  loop_wake();
}

static void woken(struct source *source, uint32_t events) {
  (void)events;
  uint64_t count;
  if (read(source->fd, &count, sizeof count) < 0) return;
  pthread_mutex_lock(&calls_lock);
  struct call *entry = first_call;
  first_call = NULL;
  last_call = &first_call;
  pthread_mutex_unlock(&calls_lock);
  while (entry != NULL) {
    struct call *next = entry->next;
    entry->call(entry->argument);
    free(entry);
    entry = next;
  }
}

/* ------------------------------------------------------------------------------------------------------------------------- */

void loop_start(void) {
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  wake_up.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_fd < 0 || wake_up.fd < 0) die("cannot make the loop");
  wake_up.ready = woken;
  loop_watch(&wake_up, EPOLLIN);
}

static void (*later)(void);

void loop_later(void (*call)(void)) { later = call; }

_Noreturn void loop_run(void) {
  struct epoll_event events[EVENTS_PER_TURN];
  for (;;) {
    queue_flush();
    if (!queue_full()) outputs_resume();
    if (later != NULL) {
      void (*call)(void) = later;
      later = NULL;
      call();
    }
    int count = epoll_wait(epoll_fd, events, EVENTS_PER_TURN, timeout());
    if (count < 0 && errno != EINTR) die("cannot wait for events");
    for (int i = 0; i < count; i++) {
      struct source *source = events[i].data.ptr;
      if (source->watched) source->ready(source, events[i].events);
    }
    run_timers();
    bury();
  }
}
