/* Takes a stream of bytes apart into frames. */
#ifndef EFFECT_SANDBOX_FRAMES_H
#define EFFECT_SANDBOX_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame {
  uint8_t type, detail;
  uint32_t channel;
  const uint8_t *payload;
  size_t length;
};

struct frames {
  uint8_t *buffer;
  size_t capacity, start, end;
};

/* Where the next bytes go, and how many there may be (at least one). Ends the life of payloads handed out before. */
uint8_t *frames_room(struct frames *, size_t *room);
/* So many bytes were put there. */
void frames_filled(struct frames *, size_t count);
/* The next frame that has come in whole. Calls `malformed` as soon as a header is wrong. */
bool frames_next(struct frames *, struct frame *);

#endif
