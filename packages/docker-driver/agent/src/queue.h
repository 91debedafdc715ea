/* The frames that wait to be sent. Any thread may add to them; `send_frame` and its kind are in agent.h. */
#ifndef EFFECT_SANDBOX_QUEUE_H
#define EFFECT_SANDBOX_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

/* While this much waits, nothing more is read from commands; and workers wait until it is half. */
#define QUEUE_HIGH (1024u * 1024u)
/* While this much waits, no frame of the host is read either. */
#define QUEUE_STOP (64u * 1024u * 1024u)

/* The calling thread is the main one. */
void queue_start(int fd);
/* Sends what can be sent without waiting. Main thread. */
void queue_flush(void);
bool queue_full(void);
size_t queue_size(void);
/* Stops reading from a source until less waits. */
void queue_pause(struct source *);
/* Sends a frame before all others (though never into the middle of one). */
void send_urgent(uint8_t type, const uint8_t *payload, size_t length);
/*
 * Queues a frame without a payload that waits for a moment when something else is expected, to be sent together with it:
 * each message takes its time on its way through the engine. Main thread.
 */
void send_companion(uint8_t type, uint8_t detail, uint32_t channel);
/* Something is about to be sent by `send_frame`. Main thread. */
void queue_expect(void);
/* Says why the agent ends, and ends it. */
_Noreturn void fatal(uint8_t reason, const char *message);
/* Ends the agent at once. */
_Noreturn void leave(int status);

#endif
