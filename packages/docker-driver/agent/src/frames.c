/* Takes a stream of bytes apart into frames, and payloads into fields. */
#include "frames.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "memory.h"

#define BUFFER_SIZE (2 * FRAME_DATA_MAX)

static uint32_t u32_at(const uint8_t *bytes) {
  uint32_t value;
  memcpy(&value, bytes, sizeof value);
  return le32toh(value);
}

/* The size of the frame that begins at `start`, as far as is known. */
static size_t size_needed(const struct frames *frames) {
  return frames->end - frames->start < 4 ? FRAME_HEADER : 4 + (size_t)u32_at(frames->buffer + frames->start);
}

uint8_t *frames_room(struct frames *frames, size_t *room) {
  size_t held = frames->end - frames->start;
  if (held > 0 && frames->start > 0) memmove(frames->buffer, frames->buffer + frames->start, held);
  frames->start = 0;
  frames->end = held;
  size_t wanted = size_needed(frames);
  if (wanted < BUFFER_SIZE) wanted = BUFFER_SIZE;
  /* A large buffer is kept only as long as a large frame is on its way. */
  if (frames->capacity < wanted || (frames->capacity > BUFFER_SIZE && held <= BUFFER_SIZE && wanted == BUFFER_SIZE)) {
    frames->buffer = resize_array(frames->buffer, wanted, 1);
    frames->capacity = wanted;
  }
  *room = frames->capacity - frames->end;
  return frames->buffer + frames->end;
}

void frames_filled(struct frames *frames, size_t count) { frames->end += count; }

bool frames_next(struct frames *frames, struct frame *frame) {
  size_t held = frames->end - frames->start;
  if (held < 4) return false;
  const uint8_t *at = frames->buffer + frames->start;
  uint32_t length = u32_at(at);
  /* Before anything is made as large as this says. */
  if (length < FRAME_HEADER - 4 || length > FRAME_HEADER - 4 + FRAME_PAYLOAD_MAX) malformed("frame of %u bytes", length);
  if (held < 5) return false;
  uint8_t type = at[4];
  if (type < FRAME_HELLO || type > FRAME_ACCEPT) malformed("unknown frame type %u", type);
  if (type == FRAME_DATA_IN && length > FRAME_HEADER - 4 + FRAME_DATA_MAX) malformed("data frame of %u bytes", length);
  if (type == FRAME_DATA_IN && length == FRAME_HEADER - 4) malformed("data frame without data");
  if (held < 4 + (size_t)length) return false;
  *frame = (struct frame){
      .type = type,
      .detail = at[5],
      .channel = u32_at(at + 6),
      .payload = at + FRAME_HEADER,
      .length = length - (FRAME_HEADER - 4),
  };
  frames->start += 4 + (size_t)length;
  return true;
}

/* --- fields ------------------------------------------------------------------------------------------------------------- */

/* The next so many bytes; NULL when there are fewer. */
static const uint8_t *take(struct reader *reader, size_t count) {
  if (reader->bad || (size_t)(reader->end - reader->at) < count) {
    reader->bad = true;
    return NULL;
  }
  const uint8_t *at = reader->at;
  reader->at += count;
  return at;
}

uint8_t read_u8(struct reader *reader) {
  const uint8_t *at = take(reader, 1);
  return at == NULL ? 0 : *at;
}

uint16_t read_u16(struct reader *reader) {
  const uint8_t *at = take(reader, 2);
  return at == NULL ? 0 : (uint16_t)(at[0] | at[1] << 8);
}

uint32_t read_u32(struct reader *reader) {
  const uint8_t *at = take(reader, 4);
  return at == NULL ? 0 : u32_at(at);
}

uint64_t read_u64(struct reader *reader) {
  uint64_t low = read_u32(reader);
  uint64_t high = read_u32(reader);
  return reader->bad ? 0 : low | high << 32;
}

int64_t read_i64(struct reader *reader) { return (int64_t)read_u64(reader); }

char *read_str(struct reader *reader) {
  size_t length = read_u32(reader);
  const uint8_t *at = take(reader, length);
  if (at != NULL && memchr(at, 0, length) != NULL) reader->bad = true;
  if (at == NULL || reader->bad) length = 0;
  char *result = allocate(length + 1);
  if (length > 0) memcpy(result, at, length);
  result[length] = 0;
  return result;
}

bool read_done(const struct reader *reader) { return !reader->bad && reader->at == reader->end; }
