/* What is open between the host and the agent, by number. */
#ifndef EFFECT_SANDBOX_CHANNELS_H
#define EFFECT_SANDBOX_CHANNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames.h"

#define CHANNELS_MAX 65536u

struct channel;

/* What the kinds of channels do with frames. NULL: such a frame is malformed there. */
struct channel_kind {
  void (*data)(struct channel *, uint8_t stream, const uint8_t *bytes, size_t length);
  void (*end)(struct channel *, uint8_t stream);
  void (*credit)(struct channel *, uint8_t stream, uint32_t more);
  void (*signal)(struct channel *, uint8_t target, uint32_t signal);
  void (*resize)(struct channel *, uint16_t rows, uint16_t columns);
  void (*close)(struct channel *, bool kill);
};

/* The first thing in what keeps a channel. */
struct channel {
  const struct channel_kind *kind;
  uint32_t number;
  bool sandbox; /* belongs to the sandbox rather than to a session */
  struct channel *next;
};

void channel_add(struct channel *);
/* NULL when it is not open. Operations on files are not among them. */
struct channel *channel_find(uint32_t number);
/* Takes it out of the table and frees it at the end of the turn. */
void channel_remove(struct channel *);
/* Sends the final frame CLOSED, and removes it. */
void channel_closed(struct channel *);
/* Calls `call` for each; it may remove the one that it is called with. */
void channels_each(void (*call)(struct channel *, void *argument), void *argument);

/* A frame that opens, uses or closes a channel. */
void channels_frame(const struct frame *);

#endif
