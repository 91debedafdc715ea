/* TCP connections: made by the host (CONNECT), or taken for it (LISTEN and ACCEPT). */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "channels.h"
#include "connections.h"
#include "loop.h"
#include "memory.h"
#include "reset.h"
#include "streams.h"

#define BACKLOG 128

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* --- connections ----------------------------------------------------------------------------------------------------------- */

struct listener;

struct connection {
  struct channel channel;
  struct source connecting; /* fd is -1 when it is not on its way */
  bool open;
  bool fallback; /* the other family is still to be tried */
  uint16_t port;
  struct output output;
  struct input input;
  bool output_done, input_done;
  struct listener *listener; /* whose connection it waits for */
  struct connection *next;   /* that waits there */
};

struct listener {
  struct channel channel;
  struct source source;
  struct connection *first, **last; /* that wait for a connection */
};

static socklen_t size_of(const union address *address) {
  return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

static bool parse_address(const char *spec, uint16_t port, union address *address) {
  memset(address, 0, sizeof *address);
  if (inet_pton(AF_INET, *spec == 0 ? "127.0.0.1" : spec, &address->v4.sin_addr) == 1) {
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons(port);
    return true;
  }
  if (inet_pton(AF_INET6, spec, &address->v6.sin6_addr) != 1) return false;
  address->v6.sin6_family = AF_INET6;
  address->v6.sin6_port = htons(port);
  return true;
}

static uint16_t port_of(const union address *address) {
  return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

static void let_go(struct connection *connection) {
  if (connection->connecting.fd >= 0) {
    loop_unwatch(&connection->connecting);
    close(connection->connecting.fd);
    connection->connecting.fd = -1;
  }
  if (connection->open) {
    output_close(&connection->output);
    input_close(&connection->input);
    connection->open = false;
  }
  if (connection->listener != NULL) {
    struct connection **link = &connection->listener->first;
    while (*link != connection) link = &(*link)->next;
    *link = connection->next;
    if (connection->next == NULL) connection->listener->last = link;
    connection->listener = NULL;
  }
}

static void fail(struct connection *connection, int error) {
  let_go(connection);
  send_error(connection->channel.number, error, STAGE_OPERATION, NULL);
  channel_remove(&connection->channel);
}

static void end_when_done(struct connection *connection) {
  if (!connection->output_done || !connection->input_done) return;
  let_go(connection);
  channel_closed(&connection->channel);
}

static void output_ended(struct output *output, int error) {
  struct connection *connection = output->owner;
  connection->output_done = true;
  if (error != 0) fail(connection, error);
  else end_when_done(connection);
}

static void input_ended(struct input *input, int error) {
  struct connection *connection = input->owner;
  connection->input_done = true;
  if (error != 0) fail(connection, error);
  else end_when_done(connection);
}

/* Takes the socket over. `port` is the peer's where the host does not know it, else 0. */
static void opened(struct connection *connection, int fd, uint16_t port) {
  int one = 1;
  int writer = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (writer < 0) {
    int error = errno;
    close(fd);
    fail(connection, error);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  uint16_t number = htole16(port);
  struct part part = {&number, sizeof number};
  send_frame(FRAME_OPENED, 0, connection->channel.number, &part, port == 0 ? 0 : 1);
  connection->open = true;
  output_open(&connection->output, fd, connection->channel.number, 1, output_ended, connection);
  output_copy(&connection->output);
  input_open(&connection->input, writer, INPUT_SOCKET, connection->channel.number, 0, input_ended, connection);
}

static void connection_data(struct channel *channel, uint8_t stream, const uint8_t *bytes, size_t length) {
  struct connection *connection = (struct connection *)channel;
  if (!connection->open || stream != 0) malformed("channel %u has no such stream %u", channel->number, stream);
  input_data(&connection->input, bytes, length);
}

static void connection_end(struct channel *channel, uint8_t stream) {
  struct connection *connection = (struct connection *)channel;
  if (!connection->open || stream != 0) malformed("channel %u has no such stream %u", channel->number, stream);
  input_end(&connection->input);
}

static void connection_credit(struct channel *channel, uint8_t stream, uint32_t more) {
  struct connection *connection = (struct connection *)channel;
  if (!connection->open || stream != 1) malformed("channel %u has no such stream %u", channel->number, stream);
  output_credit(&connection->output, more);
}

static void connection_close(struct channel *channel, bool kill_all) {
  struct connection *connection = (struct connection *)channel;
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  (void)kill_all;
  if (connection->open && connection->output.open)
    setsockopt(connection->output.source.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  else if (connection->open && connection->input.open && !connection->input.broken)
    setsockopt(connection->input.source.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  let_go(connection);
  channel_closed(channel);
}

static const struct channel_kind connection_kind = {
    .data = connection_data,
    .end = connection_end,
    .credit = connection_credit,
    .close = connection_close,
};

static void try_to_connect(struct connection *connection, const union address *address);

/* The first attempt's error is the one to tell: whoever gave no address thinks of 127.0.0.1. */
static void not_connected(struct connection *connection, int error) {
  union address address;
  if (connection->connecting.fd >= 0) {
    loop_unwatch(&connection->connecting);
    close(connection->connecting.fd);
    connection->connecting.fd = -1;
  }
  if (connection->fallback && error == ECONNREFUSED) {
    connection->fallback = false;
    parse_address("::1", connection->port, &address);
    try_to_connect(connection, &address);
    return;
  }
  fail(connection, error == EADDRNOTAVAIL || error == EAFNOSUPPORT ? ECONNREFUSED : error);
}

static void connecting(struct source *source, uint32_t events) {
  struct connection *connection = (struct connection *)((char *)source - offsetof(struct connection, connecting));
  int error = 0, fd = source->fd;
  socklen_t size = sizeof error;
  (void)events;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) {
    not_connected(connection, error);
    return;
  }
  loop_unwatch(source);
  source->fd = -1;
  opened(connection, fd, 0);
}

static void try_to_connect(struct connection *connection, const union address *address) {
  struct source *source = &connection->connecting;
  source->fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (source->fd < 0) {
    not_connected(connection, errno);
    return;
  }
  if (connect(source->fd, &address->any, size_of(address)) == 0) {
    int fd = source->fd;
    source->fd = -1;
    opened(connection, fd, 0);
  } else if (errno == EINPROGRESS) {
    loop_watch(source, EPOLLOUT);
  } else {
    not_connected(connection, errno);
  }
}

static struct connection *new_connection(uint32_t channel, bool sandbox) {
  struct connection *connection = allocate_zeroed(sizeof *connection);
  connection->channel = (struct channel){.kind = &connection_kind, .number = channel, .sandbox = sandbox};
  connection->connecting = (struct source){.fd = -1, .ready = connecting};
  channel_add(&connection->channel);
  return connection;
}

static bool refused(uint32_t channel, bool sandbox) {
  if (sandbox || !resetting()) return false;
  send_error(channel, EBUSY, STAGE_OPERATION, "a reset goes on");
  return true;
}

void connect_request(uint32_t channel, bool sandbox, struct reader *reader) {
  uint16_t port = read_u16(reader);
  char *spec = read_str(reader);
  union address address;
  if (!read_done(reader)) malformed("wrong request to connect");
  if (!refused(channel, sandbox)) {
    if (!parse_address(spec, port, &address)) {
      send_error(channel, EINVAL, STAGE_OPERATION, "no IP address");
    } else {
      struct connection *connection = new_connection(channel, sandbox);
      connection->fallback = *spec == 0;
      connection->port = port;
      try_to_connect(connection, &address);
    }
  }
  free(spec);
}

/* --- listeners --------------------------------------------------------------------------------------------------------------- */

static void accept_some(struct source *source, uint32_t events) {
  struct listener *listener = (struct listener *)((char *)source - offsetof(struct listener, source));
  (void)events;
  while (listener->first != NULL) {
    union address peer;
    socklen_t size = sizeof peer;
    int fd = accept4(source->fd, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0 && errno == EAGAIN) return;
    struct connection *connection = listener->first;
    if (fd < 0) {
      fail(connection, errno);
      continue;
    }
    listener->first = connection->next;
    if (listener->first == NULL) listener->last = &listener->first;
    connection->listener = NULL;
    opened(connection, fd, port_of(&peer));
  }
  /* The system keeps those for which nobody waits yet. */
  loop_unwatch(source);
}

static void listener_close(struct channel *channel, bool kill_all) {
  struct listener *listener = (struct listener *)channel;
  (void)kill_all;
  loop_unwatch(&listener->source);
  close(listener->source.fd);
  while (listener->first != NULL) {
    struct connection *connection = listener->first;
    let_go(connection);
    channel_closed(&connection->channel);
  }
  channel_closed(channel);
}

static const struct channel_kind listener_kind = {.close = listener_close};

static int listen_at(union address *address) {
  int one = 1;
  socklen_t size = sizeof *address;
  int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, &address->any, size_of(address)) == 0 && listen(fd, BACKLOG) == 0 &&
      getsockname(fd, &address->any, &size) == 0)
    return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

void listen_request(uint32_t channel, bool sandbox, struct reader *reader) {
  char *spec = read_str(reader);
  uint16_t port = read_u16(reader);
  union address address;
  if (!read_done(reader)) malformed("wrong request to listen");
  bool right = parse_address(spec, port, &address);
  free(spec);
  if (refused(channel, sandbox)) return;
  if (!right) {
    send_error(channel, EINVAL, STAGE_OPERATION, "no IP address");
    return;
  }
  int fd = listen_at(&address);
  if (fd < 0) {
    send_error(channel, errno, STAGE_OPERATION, NULL);
    return;
  }
  struct listener *listener = allocate_zeroed(sizeof *listener);
  listener->channel = (struct channel){.kind = &listener_kind, .number = channel, .sandbox = sandbox};
  listener->source = (struct source){.fd = fd, .ready = accept_some};
  listener->last = &listener->first;
  channel_add(&listener->channel);
  uint16_t number = htole16(port_of(&address));
  send_frame(FRAME_OPENED, 0, channel, &(struct part){&number, sizeof number}, 1);
}

void accept_request(uint32_t channel, bool sandbox, struct reader *reader) {
  uint32_t number = read_u32(reader);
  if (!read_done(reader)) malformed("wrong request to accept");
  if (refused(channel, sandbox)) return;
  struct channel *found = channel_find(number);
  struct connection *connection = new_connection(channel, sandbox);
  if (found == NULL) {
    /* The end of the listener and the request have crossed. */
    channel_closed(&connection->channel);
    return;
  }
  if (found->kind != &listener_kind) malformed("channel %u does not listen", number);
  struct listener *listener = (struct listener *)found;
  connection->listener = listener;
  *listener->last = connection;
  listener->last = &connection->next;
  loop_watch(&listener->source, EPOLLIN);
}

/* --- resets ------------------------------------------------------------------------------------------------------------------ */

static void end_connection(struct channel *channel, void *argument) {
  (void)argument;
  if (channel->kind == &connection_kind && !channel->sandbox) connection_close(channel, true);
}

static void end_listener(struct channel *channel, void *argument) {
  (void)argument;
  if (channel->kind == &listener_kind && !channel->sandbox) listener_close(channel, true);
}

void connections_reset(void) {
  /* Ending a listener ends others with it, so the walk must not be in their midst: connections come first. */
  channels_each(end_connection, NULL);
  channels_each(end_listener, NULL);
}
