/* The streams of a channel: what comes from a descriptor goes out as frames, and the other way round. */
#ifndef EFFECT_SANDBOX_STREAMS_H
#define EFFECT_SANDBOX_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

/* Both own their descriptor. Both must be the first thing in what `loop_bury` frees, or be closed before. */
struct output {
  struct source source;
  bool open, copying;
  uint8_t index;
  uint32_t channel;
  uint64_t credit;
  /* Called once, when the stream has ended by itself (0, and END was sent) or broke (errno). The stream is closed then. */
  void (*ended)(struct output *, int error);
  void *owner;
  bool waiting; /* for room in the queue */
  struct output *previous, *next;
};

/* `fd` must not block. */
void output_open(struct output *, int fd, uint32_t channel, uint8_t index, void (*ended)(struct output *, int), void *owner);
/* Begins to copy. */
void output_copy(struct output *);
void output_credit(struct output *, uint32_t more);
/* Lets go of the descriptor; nothing more is sent. */
void output_close(struct output *);
/* Whoever wrote to it has ended: copies what is there, up to a frame, and the end. */
void output_finish(struct output *);
/* There is room in the queue again. */
void outputs_resume(void);

enum input_kind { INPUT_PIPE, INPUT_SOCKET, INPUT_TERMINAL };

struct input {
  struct source source;
  bool open;
  enum input_kind kind;
  uint8_t index;
  uint32_t channel;
  bool ending; /* the host has sent END */
  bool broken; /* nobody reads; what comes is dropped */
  uint32_t credit, used, window;
  uint32_t passed; /* since the window was looked at */
  uint8_t *buffer;
  size_t start, length, capacity;
  /*
   * Called once: the end of the stream was delivered (0), or it broke (errno; what comes is dropped from then on). When it
   * is NULL the host is told of a break, by a credit of 0.
   */
  void (*ended)(struct input *, int error);
  void *owner;
};

void input_open(struct input *, int fd, enum input_kind kind, uint32_t channel, uint8_t index,
                void (*ended)(struct input *, int), void *owner);
/* What the host sends. More than there is credit for, or anything after the end, is malformed. */
void input_data(struct input *, const uint8_t *bytes, size_t length);
void input_end(struct input *);
void input_close(struct input *);

#endif
