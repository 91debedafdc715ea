/*
 * Feeds bytes to everything that decodes what the host sends: frames, and the payloads of HELLO, RUN and FILE. Nothing of
 * it is carried out. For libFuzzer: `make fuzz`, then `build/fuzz-frames -max_len=20000 fuzz/corpus`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "commands.h"
#include "files.h"
#include "frames.h"
#include "handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- `malformed` ends the agent; here it ends the input, and what was allocated until then has to be found again ------------ */

static jmp_buf end_of_input;

struct block {
  struct block *previous, *next;
};
static struct block blocks = {&blocks, &blocks};

_Noreturn void __wrap_malformed(const char *format, ...);
void *__wrap_allocate(size_t size);
void *__wrap_allocate_zeroed(size_t size);
void *__wrap_resize_array(void *memory, size_t count, size_t size);
void __wrap_free(void *memory);
void __real_free(void *memory);

_Noreturn void __wrap_malformed(const char *format, ...) {
  char message[512];
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  longjmp(end_of_input, 1);
}

static void *enlist(struct block *block) {
  if (block == NULL) abort();
  block->previous = &blocks;
  block->next = blocks.next;
  blocks.next->previous = block;
  blocks.next = block;
  return block + 1;
}

static struct block *delist(void *memory) {
  struct block *block = (struct block *)memory - 1;
  block->previous->next = block->next;
  block->next->previous = block->previous;
  return block;
}

void *__wrap_allocate(size_t size) { return enlist(malloc(sizeof(struct block) + size)); }

void *__wrap_allocate_zeroed(size_t size) { return enlist(calloc(1, sizeof(struct block) + size)); }

void *__wrap_resize_array(void *memory, size_t count, size_t size) {
  struct block *block = memory == NULL ? NULL : delist(memory);
  return enlist(realloc(block, sizeof(struct block) + count * size));
}

void __wrap_free(void *memory) {
  if (memory != NULL) __real_free(delist(memory));
}

/* ------------------------------------------------------------------------------------------------------------------------- */

static void decode(const struct frame *frame) {
  struct reader reader = {frame->payload, frame->payload + frame->length, false};
  if (frame->type == FRAME_HELLO) {
    struct hello hello;
    bool speaks;
    hello_decode(&reader, &hello, &speaks);
  } else if (frame->type == FRAME_RUN) {
    struct run_fields fields;
    run_decode(&reader, &fields);
    run_free(&fields);
  } else if (frame->type == FRAME_FILE) {
    struct file_request request = {0};
    if (file_decode(frame->payload, frame->length, &request)) file_request_free(&request);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct frames frames = {0};
  if (setjmp(end_of_input) == 0 && size > 0) {
    /* In pieces of a size that the input chooses. */
    size_t piece = (size_t)*data++ * 16 + 1;
    for (size--; size > 0;) {
      size_t room;
      uint8_t *bytes = frames_room(&frames, &room);
      if (room > piece) room = piece;
      if (room > size) room = size;
      memcpy(bytes, data, room);
      frames_filled(&frames, room);
      data += room;
      size -= room;
      struct frame frame;
      while (frames_next(&frames, &frame)) decode(&frame);
    }
  }
  while (blocks.next != &blocks) __wrap_free(blocks.next + 1);
  return 0;
}
