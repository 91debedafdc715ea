/* The streams of a channel. */
#include "streams.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"
#include "memory.h"
#include "queue.h"

/* --- from a descriptor to the host --------------------------------------------------------------------------------------- */

static struct output *waiting;

static void wait_in_line(struct output *output) {
  loop_unwatch(&output->source);
  output->waiting = true;
  output->previous = NULL;
  output->next = waiting;
  if (waiting != NULL) waiting->previous = output;
  waiting = output;
}

static void leave_line(struct output *output) {
  if (!output->waiting) return;
  if (output->previous == NULL) waiting = output->next;
  else output->previous->next = output->next;
  if (output->next != NULL) output->next->previous = output->previous;
  output->waiting = false;
}

void outputs_resume(void) {
  while (waiting != NULL) {
    struct output *output = waiting;
    leave_line(output);
    if (output->credit > 0) loop_watch(&output->source, EPOLLIN);
  }
}

void output_close(struct output *output) {
  if (!output->open) return;
  output->open = false;
  leave_line(output);
  loop_unwatch(&output->source);
  close(output->source.fd);
}

static void output_ready(struct source *source, uint32_t events) {
  static uint8_t bytes[FRAME_DATA_MAX];
  struct output *output = (struct output *)source;
  (void)events;
  if (!output->open) return;
  if (output->credit == 0) {
    loop_unwatch(source);
    return;
  }
  if (queue_full()) {
    queue_flush();
    if (queue_full()) {
      wait_in_line(output);
      return;
    }
  }
  size_t most = output->credit < sizeof bytes ? (size_t)output->credit : sizeof bytes;
  ssize_t got = read(source->fd, bytes, most);
  if (got > 0) {
    output->credit -= (uint64_t)got;
    send_frame(FRAME_DATA_OUT, output->index, output->channel, &(struct part){bytes, (size_t)got}, 1);
    if (output->credit == 0) loop_unwatch(source);
    return;
  }
  int error = got == 0 ? 0 : errno;
  if (error == EAGAIN || error == EINTR) return;
  if (error == EIO) error = 0; /* a terminal that nobody has open any more */
  output_close(output);
  if (error == 0) send_companion(FRAME_END_OUT, output->index, output->channel);
  output->ended(output, error);
}

void output_open(struct output *output, int fd, uint32_t channel, uint8_t index, void (*ended)(struct output *, int),
                 void *owner) {
  *output = (struct output){
      .source = {.fd = fd, .ready = output_ready},
      .open = true,
      .index = index,
      .channel = channel,
      .credit = STREAM_CREDIT,
      .ended = ended,
      .owner = owner,
  };
}

void output_copy(struct output *output) {
  if (!output->open) return;
  output->copying = true;
  if (output->credit > 0) loop_watch(&output->source, EPOLLIN);
}

void output_finish(struct output *output) {
  for (int i = 0; i < 2 && output->open && !output->waiting; i++) output_ready(&output->source, 0);
}

void output_credit(struct output *output, uint32_t more) {
  if (!output->open) return; /* the credit and the end have crossed */
  output->credit += more;
  if (output->copying && !output->waiting && output->credit > 0) loop_watch(&output->source, EPOLLIN);
}

/* --- from the host to a descriptor ---------------------------------------------------------------------------------------- */

/* So much of what the host has sent is done with. */
static void send_credit(const struct input *input, uint32_t more) {
  more = htole32(more);
  send_frame(FRAME_CREDIT_OUT, input->index, input->channel, &(struct part){&more, sizeof more}, 1);
}

static void consume(struct input *input, size_t count) {
  input->used += (uint32_t)count;
  input->passed += (uint32_t)count;
  if (input->used < input->window / 8 || input->ending) return;
  /* More than a pipe can hold has gone through, and nothing waits: whoever reads is faster than the host. */
  uint32_t growth = 0;
  if (input->passed >= input->window) {
    if (input->length == 0) growth = window_growth(input->window);
    input->passed = 0;
  }
  input->window += growth;
  input->credit += input->used + growth;
  send_credit(input, input->used + growth);
  input->used = 0;
}

static void tell(struct input *input, int error) {
  void (*ended)(struct input *, int) = input->ended;
  input->ended = NULL;
  if (ended != NULL) ended(input, error);
}

static void release(struct input *input) {
  loop_unwatch(&input->source);
  free(input->buffer);
  input->buffer = NULL;
  input->length = input->start = input->capacity = 0;
}

void input_close(struct input *input) {
  if (!input->open) return;
  input->open = false;
  release(input);
  if (!input->broken) close(input->source.fd);
}

/* Nobody reads any further. Whoever opened the stream knows what that means; without such, the host is told. */
static void drop(struct input *input, int error) {
  release(input);
  close(input->source.fd);
  input->broken = true;
  if (input->ended != NULL) tell(input, error);
  else if (!input->ending) send_credit(input, 0);
}

static void deliver_end(struct input *input) {
  loop_unwatch(&input->source);
  if (input->kind == INPUT_TERMINAL) return; /* its end is a character, which has been written */
  if (input->kind == INPUT_SOCKET) shutdown(input->source.fd, SHUT_WR);
  input_close(input);
  tell(input, 0);
}

static void write_buffer(struct input *input) {
  while (input->length > 0) {
    ssize_t written = write(input->source.fd, input->buffer + input->start, input->length);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        loop_watch(&input->source, EPOLLOUT);
        return;
      }
      drop(input, errno);
      return;
    }
    input->start += (size_t)written;
    input->length -= (size_t)written;
    consume(input, (size_t)written);
  }
  release(input);
  if (input->ending) deliver_end(input);
}

static void input_ready(struct source *source, uint32_t events) {
  struct input *input = (struct input *)source;
  (void)events;
  if (input->open && !input->broken) write_buffer(input);
}

void input_open(struct input *input, int fd, enum input_kind kind, uint32_t channel, uint8_t index,
                void (*ended)(struct input *, int), void *owner) {
  *input = (struct input){
      .source = {.fd = fd, .ready = input_ready},
      .open = true,
      .kind = kind,
      .index = index,
      .channel = channel,
      .credit = STREAM_CREDIT,
      .window = STREAM_CREDIT,
      .ended = ended,
      .owner = owner,
  };
}

static void append(struct input *input, const uint8_t *bytes, size_t length) {
  if (input->start > 0 && input->start + input->length + length > input->capacity) {
    memmove(input->buffer, input->buffer + input->start, input->length);
    input->start = 0;
  }
  if (input->length + length > input->capacity) {
    input->capacity = input->length + length;
    input->buffer = resize_array(input->buffer, input->capacity, 1);
  }
  memcpy(input->buffer + input->start + input->length, bytes, length);
  input->length += length;
}

void input_data(struct input *input, const uint8_t *bytes, size_t length) {
  if (input->ending) malformed("data after the end of stream %u of channel %u", input->index, input->channel);
  if (length > input->credit) malformed("more data than credit on stream %u of channel %u", input->index, input->channel);
  input->credit -= (uint32_t)length;
  if (input->broken) return;
  if (input->length == 0) {
    ssize_t written;
    do written = write(input->source.fd, bytes, length);
    while (written < 0 && errno == EINTR);
    if (written < 0 && errno != EAGAIN) {
      drop(input, errno);
      return;
    }
    if (written > 0) {
      consume(input, (size_t)written);
      bytes += written;
      length -= (size_t)written;
    }
    if (length == 0) return;
  }
  append(input, bytes, length);
  loop_watch(&input->source, EPOLLOUT);
}

void input_end(struct input *input) {
  if (input->ending) malformed("stream %u of channel %u ends twice", input->index, input->channel);
  input->ending = true;
  if (input->broken) {
    input_close(input);
    return;
  }
  if (input->kind == INPUT_TERMINAL) {
    struct termios settings_now;
    uint8_t end = tcgetattr(input->source.fd, &settings_now) == 0 ? settings_now.c_cc[VEOF] : 4;
    append(input, &end, 1);
  }
  write_buffer(input);
}
