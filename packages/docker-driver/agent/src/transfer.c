/* Whole files as streams, in both directions, no faster than who receives them gives credit. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

enum { PIECE = 256 * 1024, LARGE_FILE = 128 * 1024, SPARE_CHUNKS = 16, LARGE_CHUNK = 4096 };

/* --- memory for what comes in --------------------------------------------------------------------------------------------- */

/* New memory has to be emptied by the kernel, page by page. */
static struct {
  pthread_mutex_t lock;
  struct chunk *first;
  size_t count;
} spare = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct chunk *chunk_make(const uint8_t *bytes, size_t length) {
  struct chunk *chunk = NULL;
  if (length >= LARGE_CHUNK) {
    pthread_mutex_lock(&spare.lock);
    chunk = spare.first;
    if (chunk != NULL) {
      spare.first = chunk->next;
      spare.count--;
    }
    pthread_mutex_unlock(&spare.lock);
  }
  if (chunk == NULL) chunk = allocate(sizeof *chunk + (length < LARGE_CHUNK ? length : FRAME_DATA_MAX));
  *chunk = (struct chunk){.length = length};
  memcpy(chunk->bytes, bytes, length);
  return chunk;
}

void chunk_free(struct chunk *chunk) {
  if (chunk->length >= LARGE_CHUNK) {
    pthread_mutex_lock(&spare.lock);
    bool keep = spare.count < SPARE_CHUNKS;
    if (keep) {
      chunk->next = spare.first;
      spare.first = chunk;
      spare.count++;
    }
    pthread_mutex_unlock(&spare.lock);
    if (keep) return;
  }
  free(chunk);
}

/* --- streams ---------------------------------------------------------------------------------------------------------------- */

/* Waits for credit and takes some of it; 0 when the operation was cancelled. */
static size_t take_credit(struct operation *operation, size_t wanted) {
  size_t most = wanted < FRAME_DATA_MAX ? wanted : FRAME_DATA_MAX;
  pthread_mutex_lock(&operation->lock);
  while (operation->credit == 0 && !is_cancelled(operation)) {
    pthread_cond_wait(&operation->changed, &operation->lock);
  }
  size_t size = operation->credit < most ? (size_t)operation->credit : most;
  if (is_cancelled(operation)) size = 0;
  operation->credit -= size;
  pthread_mutex_unlock(&operation->lock);
  return size;
}

static void give_credit_back(struct operation *operation, size_t size) {
  pthread_mutex_lock(&operation->lock);
  operation->credit += size;
  pthread_mutex_unlock(&operation->lock);
}

int stream_send(struct operation *operation, const void *bytes, size_t length) {
  for (const uint8_t *at = bytes; length > 0;) {
    size_t size = wait_for_room() ? take_credit(operation, length) : 0;
    if (size == 0) return ECANCELED;
    operation->began = true;
    struct part part = {at, size};
    send_frame(FRAME_DATA_OUT, 1, operation->channel, &part, 1);
    at += size;
    length -= size;
  }
  return 0;
}

/*
 * Sends the rest of a file without copying it: the system moves the pages on that hold it. So what is written to the file
 * meanwhile may be sent or not, as when it was read. EINVAL when the file cannot be sent so, and nothing was.
 */
static int stream_move(struct operation *operation, int fd, off_t position, uint64_t most, uint64_t *sent) {
  int writer;
  struct conduit *conduit = conduit_make(&writer);
  if (conduit == NULL) return EINVAL;
  int error = 0;
  while (*sent < most) {
    uint64_t left = most - *sent;
    size_t size = wait_for_room() ? take_credit(operation, left < SIZE_MAX ? (size_t)left : SIZE_MAX) : 0;
    if (size == 0) {
      error = ECANCELED;
      break;
    }
    off_t at = position + (off_t)*sent;
    ssize_t got = splice(fd, &at, writer, NULL, size, SPLICE_F_MOVE);
    if (got < 0 && errno != EINTR) error = errno;
    size_t moved = got < 0 ? 0 : (size_t)got;
    give_credit_back(operation, size - moved);
    if (is_cancelled(operation)) error = ECANCELED;
    if (error != 0 || got == 0) break;
    if (moved == 0) continue;
    operation->began = true;
    send_from(conduit, FRAME_DATA_OUT, 1, operation->channel, moved);
    *sent += moved;
  }
  close(writer);
  conduit_release(conduit);
  bool refused = error == EINVAL || error == ENOSYS || error == EPERM || error == ESPIPE;
  return refused && *sent == 0 ? EINVAL : error;
}

struct chunk *stream_take(struct operation *operation) {
  pthread_mutex_lock(&operation->lock);
  while (operation->first == NULL && !operation->ended && !is_cancelled(operation)) {
    operation->waited = true;
    pthread_cond_wait(&operation->changed, &operation->lock);
  }
  struct chunk *chunk = is_cancelled(operation) ? NULL : operation->first;
  if (chunk != NULL) {
    operation->began = true;
    operation->first = chunk->next;
    if (operation->first == NULL) operation->last = &operation->first;
  }
  pthread_mutex_unlock(&operation->lock);
  return chunk;
}

static int download(struct operation *operation, int fd, uint8_t *buffer, uint64_t *sent) {
  const struct file_request *request = &operation->request;
  uint64_t left = request->size;
  if (request->offset > INT64_MAX) return 0; /* behind the end of every file */
  off_t position = (off_t)request->offset;
  while (left > 0) {
    size_t wanted = left < PIECE ? (size_t)left : PIECE;
    ssize_t count = position == 0 ? read(fd, buffer, wanted) : pread(fd, buffer, wanted, position + (off_t)*sent);
    if (is_cancelled(operation)) return ECANCELED;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) break;
    int error = stream_send(operation, buffer, (size_t)count);
    if (error != 0) return error;
    *sent += (uint64_t)count;
    left -= (uint64_t)count;
  }
  return 0;
}

/* What is worth a pipe of its own. */
static bool is_large(int fd) {
  struct stat stat;
  return fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size >= LARGE_FILE;
}

int operation_download(struct operation *operation) {
  const struct file_request *request = &operation->request;
  int fd = open_waiting(operation, request->path, O_RDONLY, 0);
  if (fd < 0) return errno;
  uint64_t sent = 0;
  int error = EINVAL;
  if (request->offset <= INT64_MAX && is_large(fd))
    error = stream_move(operation, fd, (off_t)request->offset, request->size, &sent);
  if (error == EINVAL && sent == 0) {
    uint8_t *buffer = allocate(PIECE);
    error = download(operation, fd, buffer, &sent);
    free(buffer);
  }
  close(fd);
  if (error == 0) reply_u64(operation, sent);
  return error;
}

static int write_chunk(struct operation *operation, int fd, const struct chunk *chunk) {
  for (size_t at = 0; at < chunk->length;) {
    ssize_t count = write(fd, chunk->bytes + at, chunk->length - at);
    if (is_cancelled(operation)) return ECANCELED;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    at += (size_t)count;
  }
  return 0;
}

/* Gives credit for what was written, in large portions, and more than that when the file is faster than the host. */
static void give_credit(struct operation *operation, uint64_t written, uint64_t *given, uint32_t *window) {
  uint32_t more = (uint32_t)(written - *given);
  if (more < *window / 4) return;
  *given = written;
  pthread_mutex_lock(&operation->lock);
  uint32_t growth = operation->waited ? window_growth(*window) : 0;
  operation->waited = false;
  operation->granted += more + growth;
  pthread_mutex_unlock(&operation->lock);
  *window += growth;
  more += growth;
  uint8_t bytes[4] = {(uint8_t)more, (uint8_t)(more >> 8), (uint8_t)(more >> 16), (uint8_t)(more >> 24)};
  struct part part = {bytes, sizeof bytes};
  send_frame(FRAME_CREDIT_OUT, 0, operation->channel, &part, 1);
}

static int receive(struct operation *operation, int fd) {
  uint64_t written = 0, given = 0;
  uint32_t window = STREAM_CREDIT;
  struct chunk *chunk;
  while ((chunk = stream_take(operation)) != NULL) {
    int error = write_chunk(operation, fd, chunk);
    written += chunk->length;
    chunk_free(chunk);
    if (error != 0) return error;
    give_credit(operation, written, &given, &window);
  }
  if (is_cancelled(operation)) return ECANCELED;
  reply_u64(operation, written);
  return 0;
}

int operation_upload(struct operation *operation, int flags) {
  const struct file_request *request = &operation->request;
  int fd = open_waiting(operation, request->path, flags, made(operation, request->mode));
  if (fd < 0) return errno;
  int error = receive(operation, fd);
  close(fd);
  return error;
}

int operation_mkstream(struct operation *operation) {
  uint32_t handle = operation->request.handle;
  int fd = handle_use(handle);
  if (fd < 0) return EBADF;
  int error = receive(operation, fd);
  handle_release(handle);
  return error;
}
