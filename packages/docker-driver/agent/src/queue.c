/* The frames that wait to be sent. */
#include "queue.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "loop.h"
#include "memory.h"

/* Small frames share a chunk of this size. */
#define CHUNK_SIZE (32u * 1024u)
#define CHUNKS_PER_WRITE 16
#define WRITES_PER_FLUSH 32
#define CONDUIT_SIZE (256 * 1024)
/* Nanoseconds that companions wait for something: longer than it mostly takes to come, and nothing to anybody. */
#define LINGER 1000000

/* Whole frames, one after the other. */
struct chunk {
  struct chunk *next;
  size_t length, capacity;
  size_t sent;
  size_t boundary; /* the start of a frame, at or before `sent` */
  struct conduit *conduit; /* there the payload is of the one frame whose header is here; mostly NULL */
  size_t left;             /* how much of it */
  uint8_t bytes[];
};

struct conduit {
  int reader;
  atomic_uint keepers;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER;
static pthread_t main_thread;
static struct source output = {.fd = -1};
static struct chunk *first, *last;
static struct chunk *spare;
static uint8_t *urgent;
static size_t urgent_length, urgent_sent, urgent_capacity;
static atomic_size_t size;
static struct source *paused;
static bool blocked; /* the other end takes nothing at the moment; the main thread waits for it */
static bool hurry;   /* something that waits to be sent is no companion */
static uint64_t expected; /* until when companions wait; nanoseconds */
static struct source linger = {.fd = -1};
static bool lingering;

bool queue_full(void) { return atomic_load_explicit(&size, memory_order_relaxed) >= QUEUE_HIGH; }
size_t queue_size(void) { return atomic_load_explicit(&size, memory_order_relaxed); }

_Noreturn void leave(int status) { _exit(status); }

static void put_header(uint8_t *at, uint8_t type, uint8_t detail, uint32_t channel, size_t length) {
  uint32_t total = htole32((uint32_t)length + FRAME_HEADER - 4);
  uint32_t number = htole32(channel);
  memcpy(at, &total, 4);
  at[4] = type;
  at[5] = detail;
  memcpy(at + 6, &number, 4);
}

static void append(struct chunk *chunk, size_t capacity) {
  *chunk = (struct chunk){.capacity = capacity};
  if (last == NULL) first = chunk;
  else last->next = chunk;
  last = chunk;
}

/* Room for one frame at the end of the queue. */
static uint8_t *extend(size_t frame) {
  if (last == NULL || last->conduit != NULL || last->capacity - last->length < frame) {
    struct chunk *chunk = NULL;
    size_t capacity = frame > CHUNK_SIZE / 2 ? frame : CHUNK_SIZE;
    if (capacity == CHUNK_SIZE && spare != NULL) {
      chunk = spare;
      spare = NULL;
    } else {
      chunk = allocate(sizeof *chunk + capacity);
    }
    append(chunk, capacity);
  }
  uint8_t *at = last->bytes + last->length;
  last->length += frame;
  atomic_fetch_add_explicit(&size, frame, memory_order_relaxed);
  return at;
}

static void drop_first(void) {
  struct chunk *done = first;
  first = done->next;
  if (first == NULL) last = NULL;
  if (done->conduit != NULL) conduit_release(done->conduit);
  if (spare == NULL && done->capacity == CHUNK_SIZE) spare = done;
  else free(done);
}

/* Where the frame ends that is partly sent; `sent` itself when none is. */
static size_t end_of_frame(struct chunk *chunk) {
  while (chunk->boundary < chunk->sent) {
    uint32_t length;
    memcpy(&length, chunk->bytes + chunk->boundary, sizeof length);
    chunk->boundary += 4 + (size_t)le32toh(length);
  }
  return chunk->boundary;
}

static int add_part(struct iovec *parts, int count, uint8_t *bytes, size_t length) {
  if (length == 0) return count;
  parts[count] = (struct iovec){.iov_base = bytes, .iov_len = length};
  return count + 1;
}

/* Counts `sent` bytes off the queue, at most up to `until` in its first chunk. Returns what is over. */
static size_t count_off(size_t sent, size_t until) {
  size_t step = until - first->sent < sent ? until - first->sent : sent;
  first->sent += step;
  atomic_fetch_sub_explicit(&size, step, memory_order_relaxed);
  return sent - step;
}

/* Where the system does not move bytes from pipe to pipe: copies those that the first chunk still has in its conduit. */
static void copy_rest(void) {
  struct chunk *chunk = allocate(sizeof *chunk + first->left);
  *chunk = (struct chunk){.next = first->next, .capacity = first->left};
  while (chunk->length < chunk->capacity) {
    ssize_t got = read(first->conduit->reader, chunk->bytes + chunk->length, chunk->capacity - chunk->length);
    if (got <= 0 && errno != EINTR) die("cannot read a pipe");
    if (got > 0) chunk->length += (size_t)got;
  }
  /* It is the middle of a frame. */
  chunk->boundary = chunk->length;
  if (last == first) last = chunk;
  conduit_release(first->conduit);
  free(first);
  first = chunk;
}

/* Moves from the first chunk's conduit, whose header was sent, as `write_some` writes. */
static bool move_some(void) {
  ssize_t moved = splice(first->conduit->reader, NULL, output.fd, NULL, first->left, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (moved < 0) {
    if (errno == EINTR) return true;
    if (errno == EINVAL || errno == ENOSYS || errno == EPERM) {
      copy_rest();
      return true;
    }
    if (errno == EAGAIN) {
      blocked = true;
      return false;
    }
    leave(0); /* nobody listens any more */
  }
  first->left -= (size_t)moved;
  atomic_fetch_sub_explicit(&size, (size_t)moved, memory_order_relaxed);
  if (first->left == 0) drop_first();
  return true;
}

/* Writes once; false when there is nothing to write or the other end takes nothing. Needs the lock. */
static bool write_some(void) {
  struct iovec parts[CHUNKS_PER_WRITE + 2];
  int count = 0;
  struct chunk *chunk = first;
  size_t split = 0; /* up to here the first chunk goes before what is urgent */
  bool moving = first != NULL && first->conduit != NULL;
  if (moving && first->sent == first->length) return move_some();
  /* Nothing comes between a header and what is in its conduit. */
  bool hasten = urgent_length > 0 && !(moving && first->sent > 0);
  if (hasten) {
    if (chunk != NULL) {
      split = end_of_frame(chunk);
      count = add_part(parts, count, chunk->bytes + chunk->sent, split - chunk->sent);
    }
    count = add_part(parts, count, urgent + urgent_sent, urgent_length - urgent_sent);
    if (chunk != NULL) {
      count = add_part(parts, count, chunk->bytes + split, chunk->length - split);
      chunk = moving ? NULL : chunk->next;
    }
  }
  while (chunk != NULL && count < CHUNKS_PER_WRITE) {
    count = add_part(parts, count, chunk->bytes + chunk->sent, chunk->length - chunk->sent);
    chunk = chunk->conduit != NULL ? NULL : chunk->next;
  }
  if (count == 0) return false;

  ssize_t written = writev(output.fd, parts, count);
  if (written < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN) {
      blocked = true;
      return false;
    }
    leave(0); /* nobody listens any more */
  }
  size_t sent = (size_t)written;
  if (hasten) {
    if (first != NULL) sent = count_off(sent, split);
    size_t step = urgent_length - urgent_sent < sent ? urgent_length - urgent_sent : sent;
    urgent_sent += step;
    sent -= step;
    atomic_fetch_sub_explicit(&size, step, memory_order_relaxed);
    if (urgent_sent == urgent_length) urgent_sent = urgent_length = 0;
  }
  while (first != NULL) {
    sent = count_off(sent, first->length);
    if (first->sent < first->length || first->left > 0) break;
    drop_first();
  }
  return true;
}

static void write_all(void) {
  for (int i = 0; i < WRITES_PER_FLUSH && !blocked; i++)
    if (!write_some()) break;
  if (queue_size() < QUEUE_HIGH / 2) pthread_cond_broadcast(&room);
}

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void set_linger(bool on) {
  if (lingering == on) return;
  lingering = on;
  struct itimerspec time = {.it_value = {0, on ? LINGER : 0}};
  timerfd_settime(linger.fd, 0, &time, NULL);
}

static void linger_ended(struct source *source, uint32_t events) {
  uint64_t count;
  (void)events;
  if (read(source->fd, &count, sizeof count) < 0) return;
  lingering = false;
  pthread_mutex_lock(&lock);
  hurry = true;
  pthread_mutex_unlock(&lock);
}

void queue_flush(void) {
  pthread_mutex_lock(&lock);
  bool some = first != NULL || urgent_length > 0;
  bool later = some && !hurry && expected > 0 && nanoseconds() < expected;
  if (some && !later) write_all();
  bool wait = !later && (first != NULL || urgent_length > 0);
  if (hurry) expected = 0;
  hurry = wait;
  pthread_mutex_unlock(&lock);
  set_linger(later);
  loop_watch(&output, wait ? EPOLLOUT : 0);
  if (paused != NULL && queue_size() < QUEUE_STOP / 2) {
    loop_watch(paused, EPOLLIN);
    paused = NULL;
  }
}

void queue_pause(struct source *source) {
  /* A hang-up is told all the same. */
  loop_watch(source, 0);
  paused = source;
}

static void writable(struct source *source, uint32_t events) {
  (void)source;
  if ((events & EPOLLERR) != 0) leave(0); /* nobody listens any more */
  pthread_mutex_lock(&lock);
  blocked = false;
  pthread_mutex_unlock(&lock);
}

void queue_start(int fd) {
  main_thread = pthread_self();
  output = (struct source){.fd = fd, .ready = writable};
  loop_watch(&output, 0);
  linger = (struct source){.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), .ready = linger_ended};
  if (linger.fd < 0) die("cannot make a timer");
  loop_watch(&linger, EPOLLIN);
}

/* The end of sending, with the lock. The main thread sends everything at the end of its turn; a worker need not wait. */
static void sent_by_thread(void) {
  bool wake = false;
  hurry = true;
  if (!pthread_equal(pthread_self(), main_thread) && !blocked) {
    write_all();
    wake = first != NULL;
  }
  pthread_mutex_unlock(&lock);
  if (wake) loop_wake();
}

void queue_expect(void) { expected = nanoseconds() + LINGER; }

void send_companion(uint8_t type, uint8_t detail, uint32_t channel) {
  pthread_mutex_lock(&lock);
  put_header(extend(FRAME_HEADER), type, detail, channel, 0);
  pthread_mutex_unlock(&lock);
}

void send_frame(uint8_t type, uint8_t detail, uint32_t channel, const struct part *parts, size_t count) {
  size_t length = 0;
  for (size_t i = 0; i < count; i++) length += parts[i].length;
  pthread_mutex_lock(&lock);
  uint8_t *at = extend(FRAME_HEADER + length);
  put_header(at, type, detail, channel, length);
  at += FRAME_HEADER;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].length > 0) memcpy(at, parts[i].bytes, parts[i].length);
    at += parts[i].length;
  }
  sent_by_thread();
}

struct conduit *conduit_make(int *writer) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return NULL;
  fcntl(fds[1], F_SETPIPE_SZ, CONDUIT_SIZE); /* where that is too much, it does without */
  struct conduit *conduit = allocate(sizeof *conduit);
  conduit->reader = fds[0];
  atomic_init(&conduit->keepers, 1);
  *writer = fds[1];
  return conduit;
}

void conduit_release(struct conduit *conduit) {
  if (atomic_fetch_sub(&conduit->keepers, 1) > 1) return;
  close(conduit->reader);
  free(conduit);
}

void send_from(struct conduit *conduit, uint8_t type, uint8_t detail, uint32_t channel, size_t length) {
  struct chunk *chunk = allocate(sizeof *chunk + FRAME_HEADER);
  atomic_fetch_add(&conduit->keepers, 1);
  pthread_mutex_lock(&lock);
  append(chunk, FRAME_HEADER);
  put_header(chunk->bytes, type, detail, channel, length);
  chunk->length = FRAME_HEADER;
  chunk->conduit = conduit;
  chunk->left = length;
  atomic_fetch_add_explicit(&size, FRAME_HEADER + length, memory_order_relaxed);
  sent_by_thread();
}

void send_urgent(uint8_t type, const uint8_t *payload, size_t length) {
  pthread_mutex_lock(&lock);
  size_t needed = urgent_length + FRAME_HEADER + length;
  if (needed > urgent_capacity) {
    urgent_capacity = needed * 2;
    urgent = resize_array(urgent, urgent_capacity, 1);
  }
  put_header(urgent + urgent_length, type, 0, 0, length);
  if (length > 0) memcpy(urgent + urgent_length + FRAME_HEADER, payload, length);
  atomic_fetch_add_explicit(&size, FRAME_HEADER + length, memory_order_relaxed);
  urgent_length = needed;
  hurry = true;
  pthread_mutex_unlock(&lock);
}

void send_error(uint32_t channel, int error, uint8_t stage, const char *message) {
  size_t length = message == NULL ? 0 : strlen(message);
  uint8_t head[9];
  uint32_t fields[2] = {htole32((uint32_t)error), htole32((uint32_t)length)};
  memcpy(head, fields, 4);
  head[4] = stage;
  memcpy(head + 5, fields + 1, 4);
  send_frame(FRAME_ERROR, 0, channel, (struct part[]){{head, sizeof head}, {message, length}}, 2);
}

bool wait_for_room(void) {
  pthread_mutex_lock(&lock);
  if (queue_full())
    while (queue_size() >= QUEUE_HIGH / 2) pthread_cond_wait(&room, &lock);
  pthread_mutex_unlock(&lock);
  return true;
}

_Noreturn void fatal(uint8_t reason, const char *message) {
  size_t length = strlen(message);
  if (length > 65536) length = 65536;
  uint8_t *payload = allocate(5 + length);
  uint32_t count = htole32((uint32_t)length);
  payload[0] = reason;
  memcpy(payload + 1, &count, 4);
  memcpy(payload + 5, message, length);
  send_urgent(FRAME_FATAL, payload, 5 + length);
  uint64_t end = loop_now() + 1000;
  for (;;) {
    pthread_mutex_lock(&lock);
    blocked = false;
    write_all();
    bool done = urgent_length == 0;
    pthread_mutex_unlock(&lock);
    uint64_t now = loop_now();
    if (done || now >= end) leave(1);
    poll(&(struct pollfd){.fd = output.fd, .events = POLLOUT}, 1, (int)(end - now));
  }
}

_Noreturn void malformed(const char *format, ...) {
  char message[512];
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  fatal(FATAL_MALFORMED, message);
}
