/* What is open between the host and the agent, by number. */
#include "channels.h"

#include <errno.h>

#include "agent.h"
#include "commands.h"
#include "connections.h"
#include "loop.h"
#include "queue.h"
#include "reset.h"

#define BUCKETS 4096u

static struct channel *table[BUCKETS];
static size_t open_channels;

static struct channel **link_to(uint32_t number) {
  struct channel **link = &table[number % BUCKETS];
  while (*link != NULL && (*link)->number != number) link = &(*link)->next;
  return link;
}

struct channel *channel_find(uint32_t number) { return *link_to(number); }

void channel_add(struct channel *channel) {
  struct channel **bucket = &table[channel->number % BUCKETS];
  channel->next = *bucket;
  *bucket = channel;
  open_channels++;
}

void channel_remove(struct channel *channel) {
  *link_to(channel->number) = channel->next;
  open_channels--;
  loop_bury(channel);
}

void channel_closed(struct channel *channel) {
  send_companion(FRAME_CLOSED, 0, channel->number);
  channel_remove(channel);
}

void channels_each(void (*call)(struct channel *, void *argument), void *argument) {
  for (size_t i = 0; i < BUCKETS; i++)
    for (struct channel *channel = table[i], *next; channel != NULL; channel = next) {
      next = channel->next;
      call(channel, argument);
    }
}

/* --- frames ------------------------------------------------------------------------------------------------------------- */

static void open_channel(const struct frame *frame) {
  uint32_t number = frame->channel;
  if (channel_find(number) != NULL || files_owns(number)) malformed("channel %u is open already", number);
  if (open_channels >= CHANNELS_MAX) {
    send_error(number, EMFILE, STAGE_START, "too many channels");
    return;
  }
  bool lifetime = frame->type == FRAME_FILE || frame->type == FRAME_CONNECT || frame->type == FRAME_LISTEN ||
                  frame->type == FRAME_ACCEPT;
  if (frame->detail > (lifetime ? 1 : 0)) malformed("detail %u in a frame that opens a channel", frame->detail);
  bool sandbox = frame->detail == 1;
  struct reader reader = {frame->payload, frame->payload + frame->length, false};
  switch (frame->type) {
    case FRAME_RUN: run_request(number, &reader); break;
    case FRAME_FILE: files_request(number, frame->detail, frame->payload, frame->length); break;
    case FRAME_CONNECT: connect_request(number, sandbox, &reader); break;
    case FRAME_LISTEN: listen_request(number, sandbox, &reader); break;
    case FRAME_ACCEPT: accept_request(number, sandbox, &reader); break;
    default: reset_request(number, &reader); break;
  }
}

static void check(bool right, const struct frame *frame) {
  if (!right) malformed("frame of type %u does not fit channel %u", frame->type, frame->channel);
}

static void use_file(const struct frame *frame, uint32_t number) {
  switch (frame->type) {
    case FRAME_DATA_IN: files_data(frame->channel, frame->detail, frame->payload, frame->length); break;
    case FRAME_END_IN: files_end(frame->channel, frame->detail); break;
    case FRAME_CREDIT_IN: files_credit(frame->channel, frame->detail, number); break;
    case FRAME_CLOSE: files_close(frame->channel); break;
    default: check(false, frame);
  }
}

static void use_channel(const struct frame *frame) {
  struct reader reader = {frame->payload, frame->payload + frame->length, false};
  uint32_t number = 0;
  uint16_t rows = 0, columns = 0;
  uint8_t most = 255;
  switch (frame->type) {
    case FRAME_DATA_IN: reader.at = reader.end; break;
    case FRAME_CREDIT_IN: number = read_u32(&reader); break;
    case FRAME_SIGNAL:
      most = SIGNAL_TREE;
      number = read_u32(&reader);
      break;
    case FRAME_RESIZE:
      most = 0;
      rows = read_u16(&reader);
      columns = read_u16(&reader);
      break;
    case FRAME_CLOSE: most = 1; break;
    default: break;
  }
  check(read_done(&reader) && frame->detail <= most, frame);

  struct channel *channel = channel_find(frame->channel);
  if (channel == NULL) {
    if (files_owns(frame->channel)) use_file(frame, number);
    return;
  }
  const struct channel_kind *kind = channel->kind;
  switch (frame->type) {
    case FRAME_DATA_IN:
      check(kind->data != NULL, frame);
      kind->data(channel, frame->detail, frame->payload, frame->length);
      break;
    case FRAME_END_IN:
      check(kind->end != NULL, frame);
      kind->end(channel, frame->detail);
      break;
    case FRAME_CREDIT_IN:
      check(kind->credit != NULL, frame);
      kind->credit(channel, frame->detail, number);
      break;
    case FRAME_SIGNAL:
      check(kind->signal != NULL, frame);
      kind->signal(channel, frame->detail, number);
      break;
    case FRAME_RESIZE:
      check(kind->resize != NULL, frame);
      kind->resize(channel, rows, columns);
      break;
    default: kind->close(channel, frame->detail == 1); break;
  }
}

void channels_frame(const struct frame *frame) {
  if (frame->channel == 0) malformed("frame of type %u without a channel", frame->type);
  switch (frame->type) {
    case FRAME_RUN:
    case FRAME_FILE:
    case FRAME_CONNECT:
    case FRAME_LISTEN:
    case FRAME_ACCEPT:
    case FRAME_RESET: open_channel(frame); break;
    default: use_channel(frame); break;
  }
}
