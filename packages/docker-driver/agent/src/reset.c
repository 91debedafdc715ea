/*
 * A reset: first everything of sessions that runs is killed and has verifiably ended, then their connections are closed,
 * then the files' side does its part.
 */
#include "reset.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent.h"
#include "channels.h"
#include "commands.h"
#include "connections.h"
#include "loop.h"
#include "memory.h"
#include "orphans.h"

/* Milliseconds that processes may take to end. */
#define PATIENCE 5000
#define LAST_RESORT 1000
#define LOOK_AGAIN 5

struct reset {
  struct channel channel;
};

static enum { IDLE, KILLING, CLEANING } phase;
static struct reset *reset;
static uint64_t began;
static struct timer timer;

bool resetting(void) { return phase != IDLE; }

static void finish(const char *problem) {
  uint32_t channel = reset->channel.number;
  timer_clear(&timer);
  phase = IDLE;
  if (problem == NULL) send_frame(FRAME_REPLY, 0, channel, NULL, 0);
  else send_error(channel, 0, STAGE_OPERATION, problem);
  channel_remove(&reset->channel);
  reset = NULL;
}

static void cleaned(void *argument) {
  char *problem = argument;
  finish(problem);
  free(problem);
}

/* On a worker. */
static void places_done(char *problem, void *argument) {
  (void)argument;
  on_main(cleaned, problem);
}

static void step(struct timer *due) {
  (void)due;
  uint64_t passed = loop_now() - began;
  bool others = commands_of_sandbox();
  bool left = commands_of_sessions() > 0;
  if (!left) left = orphans_kill() > 0;
  if (!left) {
    timer_clear(&timer);
    phase = CLEANING;
    connections_reset();
    if (others) places_sandbox_acts();
    places_reset(places_done, NULL);
    return;
  }
  if (passed >= PATIENCE) {
    char *problem = orphans_describe();
    finish(problem);
    free(problem);
    return;
  }
  /* At one blow, which nothing outruns, but only where it hits nobody else. */
  if (passed >= LAST_RESORT && !others && getpid() == 1) kill(-1, SIGKILL);
  timer_set(&timer, LOOK_AGAIN);
}

void reset_command_gone(void) {
  if (phase == KILLING && commands_of_sessions() == 0) timer_set(&timer, 0);
}

static void reset_close(struct channel *channel, bool kill_all) {
  /* Half a reset would be no use to anyone: its final frame comes when it is through. */
  (void)channel;
  (void)kill_all;
}

static const struct channel_kind reset_kind = {.close = reset_close};

void reset_request(uint32_t channel, struct reader *reader) {
  if (!read_done(reader)) malformed("payload in a reset");
  if (resetting()) {
    send_error(channel, EBUSY, STAGE_OPERATION, "a reset goes on");
    return;
  }
  reset = allocate_zeroed(sizeof *reset);
  reset->channel = (struct channel){.kind = &reset_kind, .number = channel, .sandbox = true};
  channel_add(&reset->channel);
  phase = KILLING;
  began = loop_now();
  timer.call = step;
  commands_kill_sessions();
  step(&timer);
}
