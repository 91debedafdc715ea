/*
 * Operations on files: each is one FILE request, found by its channel from its frame to its final frame, and worked on by
 * one thread of the pool with the rights of the user.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

/* --- all operations ------------------------------------------------------------------------------------------------- */

enum { BUCKETS = 256 };

static struct {
  pthread_mutex_t lock;
  pthread_cond_t fewer;
  struct operation *buckets[BUCKETS]; /* by channel, until the final frame */
  struct operation *all;              /* until after the final frame */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .fewer = PTHREAD_COND_INITIALIZER};

static struct operation **bucket_of(uint32_t channel) { return &table.buckets[channel % BUCKETS]; }

static struct operation *find(uint32_t channel) {
  struct operation *at = *bucket_of(channel);
  while (at != NULL && at->channel != channel) at = at->next_in_bucket;
  return at;
}

static void enter(struct operation *operation) {
  pthread_mutex_lock(&table.lock);
  struct operation **bucket = bucket_of(operation->channel);
  operation->next_in_bucket = *bucket;
  *bucket = operation;
  operation->next = table.all;
  operation->link = &table.all;
  if (table.all != NULL) table.all->link = &operation->next;
  table.all = operation;
  pthread_mutex_unlock(&table.lock);
}

bool files_owns(uint32_t channel) {
  pthread_mutex_lock(&table.lock);
  bool found = find(channel) != NULL;
  pthread_mutex_unlock(&table.lock);
  return found;
}

/* --- replies ---------------------------------------------------------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, size_t size) {
  for (size_t index = 0; index < size; index++) at[index] = (uint8_t)(value >> (8 * index));
}

static void add(struct operation *operation, uint64_t value, size_t size) {
  put(operation->small + operation->reply_length, value, size);
  operation->reply_length += size;
}

void reply_u32(struct operation *operation, uint32_t value) { add(operation, value, 4); }
void reply_u64(struct operation *operation, uint64_t value) { add(operation, value, 8); }

void reply_bytes(struct operation *operation, uint8_t *bytes, size_t length) {
  operation->reply = bytes;
  operation->reply_length = length;
}

void reply_string(struct operation *operation, const char *string) {
  size_t length = strlen(string);
  uint8_t *bytes = allocate(length + 4);
  put(bytes, length, 4);
  memcpy(bytes + 4, string, length);
  reply_bytes(operation, bytes, length + 4);
}

static uint64_t nanoseconds(struct timespec time) {
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint8_t type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return TYPE_FILE;
    case S_IFDIR: return TYPE_DIRECTORY;
    case S_IFLNK: return TYPE_LINK;
    case S_IFBLK: return TYPE_BLOCK;
    case S_IFCHR: return TYPE_CHARACTER;
    case S_IFIFO: return TYPE_FIFO;
    default: return TYPE_SOCKET;
  }
}

static void reply_info(struct operation *operation, const struct info *info) {
  const struct stat *stat = &info->stat;
  add(operation, type_of(stat->st_mode), 1);
  reply_u64(operation, stat->st_dev);
  reply_u64(operation, stat->st_ino);
  reply_u32(operation, stat->st_mode & 07777);
  reply_u64(operation, stat->st_nlink);
  reply_u32(operation, stat->st_uid);
  reply_u32(operation, stat->st_gid);
  reply_u64(operation, stat->st_rdev);
  reply_u64(operation, (uint64_t)stat->st_size);
  reply_u64(operation, (uint64_t)stat->st_blksize);
  reply_u64(operation, (uint64_t)stat->st_blocks);
  reply_u64(operation, nanoseconds(stat->st_atim));
  reply_u64(operation, nanoseconds(stat->st_mtim));
  reply_u64(operation, nanoseconds(stat->st_ctim));
  reply_u64(operation, (uint64_t)info->birth);
}

/* --- beginning and end --------------------------------------------------------------------------------------------------- */

static void operation_free(struct operation *operation) {
  while (operation->first != NULL) {
    struct chunk *chunk = operation->first;
    operation->first = chunk->next;
    chunk_free(chunk);
  }
  pthread_mutex_destroy(&operation->lock);
  pthread_cond_destroy(&operation->changed);
  file_request_free(&operation->request);
  free(operation->reply);
  free(operation);
}

void operation_finish(struct operation *operation, int error) {
  uint32_t channel = operation->channel;
  pthread_mutex_lock(&table.lock);
  operation->state = ENDING;
  struct operation **at = bucket_of(channel);
  while (*at != operation) at = &(*at)->next_in_bucket;
  *at = operation->next_in_bucket;
  pthread_mutex_unlock(&table.lock);
  /* Who has asked for the end does not want what was opened meanwhile. From here on nobody can ask any more. */
  if (error == 0 && operation->request.operation == FILE_OPEN && is_cancelled(operation)) {
    handle_close(operation->request.handle);
    error = ECANCELED;
  }

  if (error == ECANCELED) {
    send_frame(FRAME_CLOSED, 0, channel, NULL, 0);
  } else if (error != 0) {
    send_error(channel, error, operation->stage, NULL);
  } else {
    const void *bytes = operation->reply != NULL ? operation->reply : operation->small;
    struct part part = {bytes, operation->reply_length};
    send_frame(FRAME_REPLY, 0, channel, &part, 1);
  }

  pthread_mutex_lock(&table.lock);
  *operation->link = operation->next;
  if (operation->next != NULL) operation->next->link = operation->link;
  pthread_cond_broadcast(&table.fewer);
  pthread_mutex_unlock(&table.lock);
  operation_free(operation);
}

static int perform(struct operation *);

static bool is_in_home(const struct operation *operation) {
  const struct file_request *request = &operation->request;
  switch (request->operation) {
    case FILE_WATCH:
      return false;
    case FILE_RENAME:
    case FILE_LINK:
    case FILE_SYMLINK:
    case FILE_COPY:
    case FILE_COPYFILE:
      return places_in_home(request->second);
    default:
      return request->path != NULL && places_in_home(request->path);
  }
}

static int perform_as(struct operation *operation, enum identity identity) {
  operation->identity = identity;
  operation->stage = STAGE_OPERATION;
  return act_as(identity) ? perform(operation) : EPERM;
}

/* What the sandbox does in `home` is done as its owner; as the user what that may not: what commands have made there. */
static int attempt(struct operation *operation) {
  if (!operation->sandbox) return perform_as(operation, AS_SESSION);
  if (!is_in_home(operation)) return perform_as(operation, AS_SANDBOX);
  int error = perform_as(operation, AS_HOME);
  bool may_not = (error == EACCES || error == EPERM) && !operation->began;
  return may_not ? perform_as(operation, AS_SANDBOX) : error;
}

static void run(struct job *job) {
  struct operation *operation = (struct operation *)job;
  pthread_mutex_lock(&table.lock);
  operation->state = RUNNING;
  operation->thread = pthread_self();
  pthread_mutex_unlock(&table.lock);

  int error = ECANCELED;
  if (!is_cancelled(operation)) error = attempt(operation);
  if (operation->watch != NULL) {
    if (error == 0) {
      pthread_mutex_lock(&table.lock);
      bool goes_on = !is_cancelled(operation);
      if (goes_on) operation->state = WATCHING;
      pthread_mutex_unlock(&table.lock);
      if (goes_on) return;
      error = ECANCELED;
    }
    watch_stop(operation);
  }
  operation_finish(operation, error);
}

static void end_watch(struct job *job) {
  struct operation *operation = (struct operation *)job;
  watch_stop(operation);
  operation_finish(operation, ECANCELED);
}

void files_start(void) {
  umask(0); /* which depends on where something is made; commands get theirs when they start */
  workers_start();
}

void files_request(uint32_t channel, uint8_t detail, const uint8_t *payload, size_t length) {
  struct operation *operation = allocate_zeroed(sizeof *operation);
  if (!file_decode(payload, length, &operation->request)) {
    free(operation);
    malformed("a FILE request of %zu bytes", length);
  }
  operation->job.run = run;
  operation->channel = channel;
  operation->sandbox = (detail & 1) != 0;
  operation->credit = STREAM_CREDIT;
  operation->granted = STREAM_CREDIT;
  operation->last = &operation->first;
  pthread_mutex_init(&operation->lock, NULL);
  pthread_cond_init(&operation->changed, NULL);
  if (operation->sandbox) places_sandbox_acts();
  enter(operation);
  workers_submit(&operation->job);
}

/* --- while it goes on ------------------------------------------------------------------------------------------------------ */

static bool takes_data(const struct operation *operation) {
  return operation->request.operation == FILE_UPLOAD || operation->request.operation == FILE_MKSTREAM;
}

void files_data(uint32_t channel, uint8_t stream, const uint8_t *bytes, size_t length) {
  struct chunk *chunk = chunk_make(bytes, length);
  bool good = true;
  pthread_mutex_lock(&table.lock);
  struct operation *operation = find(channel);
  if (operation != NULL) {
    pthread_mutex_lock(&operation->lock);
    good = takes_data(operation) && stream == 0 && !operation->ended &&
           length <= operation->granted - operation->received;
    if (good) {
      operation->received += length;
      *operation->last = chunk;
      operation->last = &chunk->next;
      chunk = NULL;
      pthread_cond_signal(&operation->changed);
    }
    pthread_mutex_unlock(&operation->lock);
  }
  pthread_mutex_unlock(&table.lock);
  if (chunk != NULL) chunk_free(chunk);
  if (!good) malformed("DATA of %zu bytes for a file's stream %u that may not be sent", length, stream);
}

void files_end(uint32_t channel, uint8_t stream) {
  bool good = true;
  pthread_mutex_lock(&table.lock);
  struct operation *operation = find(channel);
  if (operation != NULL) {
    pthread_mutex_lock(&operation->lock);
    good = takes_data(operation) && stream == 0 && !operation->ended;
    operation->ended = true;
    pthread_cond_signal(&operation->changed);
    pthread_mutex_unlock(&operation->lock);
  }
  pthread_mutex_unlock(&table.lock);
  if (!good) malformed("END of a file's stream %u that is not open", stream);
}

void files_credit(uint32_t channel, uint8_t stream, uint32_t more) {
  pthread_mutex_lock(&table.lock);
  struct operation *operation = find(channel);
  if (operation != NULL && stream == 1) {
    pthread_mutex_lock(&operation->lock);
    operation->credit += more;
    pthread_cond_signal(&operation->changed);
    pthread_mutex_unlock(&operation->lock);
  }
  pthread_mutex_unlock(&table.lock);
}

/* With the table's lock held: what is left to do is told by the answer. */
enum rest { NOTHING, FINISH, END_WATCH };
static enum rest cancel(struct operation *operation) {
  if (atomic_exchange(&operation->cancelled, true)) return NOTHING;
  switch (operation->state) {
    case QUEUED:
      /* A thread may just have taken it: then that thread sees that it is cancelled. */
      if (!workers_withdraw(&operation->job)) return NOTHING;
      operation->state = ENDING;
      return FINISH;
    case RUNNING:
      pthread_mutex_lock(&operation->lock);
      pthread_cond_signal(&operation->changed);
      pthread_mutex_unlock(&operation->lock);
      pthread_kill(operation->thread, SIGURG);
      return NOTHING;
    case WATCHING:
      operation->state = ENDING;
      return END_WATCH;
    case ENDING:
      break;
  }
  return NOTHING;
}

void files_close(uint32_t channel) {
  pthread_mutex_lock(&table.lock);
  struct operation *operation = find(channel);
  enum rest rest = operation == NULL ? NOTHING : cancel(operation);
  if (rest == END_WATCH) {
    operation->job.run = end_watch;
    workers_submit(&operation->job);
  }
  pthread_mutex_unlock(&table.lock);
  if (rest == FINISH) operation_finish(operation, ECANCELED);
  else if (operation != NULL) workers_wake();
}

bool operations_wake(void) {
  bool any = false;
  pthread_mutex_lock(&table.lock);
  for (struct operation *at = table.all; at != NULL; at = at->next) {
    if (at->state != RUNNING || !is_cancelled(at)) continue;
    pthread_kill(at->thread, SIGURG);
    any = true;
  }
  pthread_mutex_unlock(&table.lock);
  return any;
}

/* With the lock held. The next of a session's operations that nobody has cancelled; else whether any is left. */
static struct operation *next_of_session(bool *any) {
  *any = false;
  for (struct operation *at = table.all; at != NULL; at = at->next) {
    if (at->sandbox) continue;
    *any = true;
    if (!is_cancelled(at)) return at;
  }
  return NULL;
}

void operations_abandon_sessions(void) {
  bool any = true;
  pthread_mutex_lock(&table.lock);
  while (any) {
    struct operation *operation = next_of_session(&any);
    if (operation != NULL) {
      enum rest rest = cancel(operation);
      if (rest == NOTHING) continue;
      pthread_mutex_unlock(&table.lock);
      if (rest == END_WATCH) watch_stop(operation);
      operation_finish(operation, ECANCELED);
      pthread_mutex_lock(&table.lock);
    } else if (any) {
      struct timespec end;
      clock_gettime(CLOCK_REALTIME, &end);
      end.tv_nsec += 5000000;
      if (end.tv_nsec >= 1000000000) {
        end.tv_nsec -= 1000000000;
        end.tv_sec++;
      }
      pthread_cond_timedwait(&table.fewer, &table.lock, &end);
      pthread_mutex_unlock(&table.lock);
      workers_tick();
      pthread_mutex_lock(&table.lock);
    }
  }
  pthread_mutex_unlock(&table.lock);
}

/* --- system calls ------------------------------------------------------------------------------------------------------------- */

struct statx_time {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};
struct statx_answer {
  uint32_t mask, blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, reserved;
  uint64_t ino, size, blocks, attributes_mask;
  struct statx_time accessed, born, changed, modified;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t more[14];
};
_Static_assert(sizeof(struct statx_answer) == 256, "as the kernel has it");

enum { STATX_WANTED = 0xfff, STATX_HAS_BIRTH = 0x800, STATX_IS_MOUNT_ROOT = 0x2000 };

static struct timespec time_of(struct statx_time time) {
  return (struct timespec){.tv_sec = time.seconds, .tv_nsec = (long)time.nanoseconds};
}

int info_get(int directory, const char *path, int flags, struct info *info) {
  struct statx_answer answer;
  memset(&answer, 0, sizeof answer);
  memset(info, 0, sizeof *info);
  info->birth = INT64_MIN;
  if (syscall(SYS_statx, directory, path, flags, STATX_WANTED, &answer) != 0) {
    if (errno != ENOSYS && errno != EPERM) return errno;
    return fstatat(directory, path, &info->stat, flags) == 0 ? 0 : errno;
  }
  info->stat.st_dev = makedev(answer.dev_major, answer.dev_minor);
  info->stat.st_ino = answer.ino;
  info->stat.st_mode = answer.mode;
  info->stat.st_nlink = (nlink_t)answer.nlink;
  info->stat.st_uid = answer.uid;
  info->stat.st_gid = answer.gid;
  info->stat.st_rdev = makedev(answer.rdev_major, answer.rdev_minor);
  info->stat.st_size = (off_t)answer.size;
  info->stat.st_blksize = (blksize_t)answer.blksize;
  info->stat.st_blocks = (blkcnt_t)answer.blocks;
  info->stat.st_atim = time_of(answer.accessed);
  info->stat.st_mtim = time_of(answer.modified);
  info->stat.st_ctim = time_of(answer.changed);
  if ((answer.mask & STATX_HAS_BIRTH) != 0) info->birth = (int64_t)nanoseconds(time_of(answer.born));
  info->mount_known = (answer.attributes_mask & STATX_IS_MOUNT_ROOT) != 0;
  info->mount_root = info->mount_known && (answer.attributes & STATX_IS_MOUNT_ROOT) != 0;
  return 0;
}

int open_waiting(struct operation *operation, const char *path, int flags, mode_t mode) {
  for (;;) {
    /* Nothing that is opened becomes the agent's terminal. */
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    if (fd >= 0 || errno != EINTR) return fd;
    if (!is_cancelled(operation)) continue;
    errno = ECANCELED;
    return -1;
  }
}

/* The protocol's numbers of `O_*` are those of most machines; some of them differ elsewhere. */
static int flags_of(uint32_t given) {
  static const struct { uint32_t given; int flag; } known[] = {
    {01, O_WRONLY},       {02, O_RDWR},           {0100, O_CREAT},   {0200, O_EXCL},      {01000, O_TRUNC},
    {02000, O_APPEND},    {04000, O_NONBLOCK},    {010000, O_DSYNC}, {04010000, O_SYNC},  {0200000, O_DIRECTORY},
    {0400000, O_NOFOLLOW}, {01000000, O_NOATIME},
  };
  int flags = 0;
  for (size_t index = 0; index < sizeof known / sizeof *known; index++) {
    if ((given & known[index].given) == known[index].given) flags |= known[index].flag;
  }
  return flags;
}

static int result(int value) { return value < 0 ? errno : 0; }

/* For kernels and engines that do not have the system call: by the mode, as far as that tells. */
static int access_by_mode(const struct operation *operation, const char *path, int wanted) {
  struct stat stat;
  if (fstatat(AT_FDCWD, path, &stat, 0) != 0) return errno;
  uid_t uid = settings.uid;
  if (uid == 0) return (wanted & X_OK) != 0 && !S_ISDIR(stat.st_mode) && (stat.st_mode & 0111) == 0 ? EACCES : 0;
  bool member = stat.st_gid == settings.gid || (operation->sandbox && stat.st_gid == SANDBOX_GROUP);
  for (size_t index = 0; index < settings.group_count; index++) member |= stat.st_gid == settings.groups[index];
  unsigned shift = stat.st_uid == uid ? 6 : member ? 3 : 0;
  return (wanted & ~(int)(stat.st_mode >> shift) & 7) == 0 ? 0 : EACCES;
}

static int check_access(const struct operation *operation, const char *path, uint32_t mode) {
  int wanted = (int)mode & 7;
#ifdef SYS_faccessat2
  if (syscall(SYS_faccessat2, AT_FDCWD, path, wanted, AT_EACCESS) == 0) return 0;
  if (errno != ENOSYS && errno != EPERM) return errno;
#endif
  return access_by_mode(operation, path, wanted);
}

static int read_link(struct operation *operation, const char *path) {
  char target[4097];
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) return errno;
  target[length] = 0;
  reply_string(operation, target);
  return 0;
}

static struct timespec time_from(int64_t nanoseconds) {
  int64_t seconds = nanoseconds / 1000000000;
  int64_t rest = nanoseconds % 1000000000;
  if (rest < 0) {
    rest += 1000000000;
    seconds--;
  }
  return (struct timespec){.tv_sec = seconds, .tv_nsec = (long)rest};
}

static int set_times(const char *path, const struct file_request *request) {
  struct timespec times[2] = {time_from(request->accessed), time_from(request->modified)};
  return result(utimensat(AT_FDCWD, path, times, 0));
}

/* Node opens the file to read and write, which decides what it is refused. */
static int truncate_path(struct operation *operation, const char *path) {
  if (operation->request.size > INT64_MAX) return EINVAL;
  int fd = open_waiting(operation, path, O_RDWR, 0);
  if (fd < 0) return errno;
  int error = result(ftruncate(fd, (off_t)operation->request.size));
  close(fd);
  return error;
}

static int make_temporary(struct operation *operation) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  enum { LETTERS = 6, ATTEMPTS = 100 };
  const struct file_request *request = &operation->request;
  const char *directory = request->path[0] == 0 ? "/tmp" : request->path;
  const char *slash = directory[strlen(directory) - 1] == '/' ? "" : "/";
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) < 0) return errno;
    char name[LETTERS + 1] = {0};
    for (size_t index = 0; index < LETTERS; index++, random /= 62) name[index] = letters[random % 62];
    char *path = text("%s%s%s%s%s", directory, slash, request->second, name, request->third);
    char *absolute = path_absolute(path);
    int error;
    if (request->directory) {
      error = result(mkdir(absolute, made(operation, 0700)));
    } else {
      int fd = open(absolute, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, made(operation, 0600));
      error = result(fd);
      if (fd >= 0) close(fd);
    }
    free(absolute);
    if (error == 0) reply_string(operation, path);
    free(path);
    if (error != EEXIST) return error;
  }
  return EEXIST;
}

static int open_handle(struct operation *operation, const char *path) {
  int fd = open_waiting(operation, path, flags_of(operation->request.flags), made(operation, operation->request.mode));
  if (fd < 0) return errno;
  uint32_t handle = handle_make(fd, operation->sandbox);
  if (handle == 0) {
    close(fd);
    return EMFILE;
  }
  operation->request.handle = handle;
  reply_u32(operation, handle);
  return 0;
}

static int read_handle(struct operation *operation, int fd) {
  const struct file_request *request = &operation->request;
  size_t most = request->most < READ_MAX ? request->most : READ_MAX;
  uint8_t *bytes = allocate(most + 1);
  ssize_t count;
  do {
    count = request->position < 0 ? read(fd, bytes, most) : pread(fd, bytes, most, request->position);
  } while (count < 0 && errno == EINTR && !is_cancelled(operation));
  if (count < 0) {
    int error = errno == EINTR ? ECANCELED : errno;
    free(bytes);
    return error;
  }
  reply_bytes(operation, bytes, (size_t)count);
  return 0;
}

static int write_handle(struct operation *operation, int fd) {
  const struct file_request *request = &operation->request;
  ssize_t count;
  do {
    count = request->position < 0 ? write(fd, request->bytes, request->length)
                                  : pwrite(fd, request->bytes, request->length, request->position);
  } while (count < 0 && errno == EINTR && !is_cancelled(operation));
  if (count < 0) return errno == EINTR ? ECANCELED : errno;
  reply_u32(operation, (uint32_t)count);
  return 0;
}

static int with_handle(struct operation *operation) {
  const struct file_request *request = &operation->request;
  int fd = handle_use(request->handle);
  if (fd < 0) return EBADF;
  int error = 0;
  switch (request->operation) {
    case FILE_READ:
      error = read_handle(operation, fd);
      break;
    case FILE_WRITE:
      error = write_handle(operation, fd);
      break;
    case FILE_FSTAT: {
      struct info info;
      error = info_get(fd, "", AT_EMPTY_PATH, &info);
      if (error == 0) reply_info(operation, &info);
      break;
    }
    case FILE_FSYNC:
      error = result(fsync(fd));
      break;
    case FILE_FTRUNCATE:
      error = request->size > INT64_MAX ? EINVAL : result(ftruncate(fd, (off_t)request->size));
      break;
    default:
      break;
  }
  handle_release(request->handle);
  return error;
}

static int with_path(struct operation *operation, const char *path) {
  const struct file_request *request = &operation->request;
  switch (request->operation) {
    case FILE_STAT: {
      struct info info;
      int error = info_get(AT_FDCWD, path, request->follow ? 0 : AT_SYMLINK_NOFOLLOW, &info);
      if (error == 0) reply_info(operation, &info);
      return error;
    }
    case FILE_ACCESS:
      return check_access(operation, path, request->mode);
    case FILE_MKDIR:
      if (request->recursive) return make_directories(operation, path, request->mode);
      return result(mkdir(path, made(operation, request->mode)));
    case FILE_READLINK:
      return read_link(operation, path);
    case FILE_REALPATH: {
      char *real = NULL;
      int error = path_real(operation, path, &real);
      if (error == 0) reply_string(operation, real);
      free(real);
      return error;
    }
    case FILE_CHMOD:
      return result(chmod(path, request->mode & 07777));
    case FILE_CHOWN:
      return result(chown(path, request->owner, request->group));
    case FILE_TRUNCATE:
      return truncate_path(operation, path);
    case FILE_UTIMES:
      return set_times(path, request);
    case FILE_OPEN:
      return open_handle(operation, path);
    default:
      return ENOSYS;
  }
}

static int with_two_paths(const struct file_request *request) {
  /* What a link leads to is text. */
  bool is_link = request->operation == FILE_SYMLINK;
  char *first = is_link ? text("%s", request->path) : path_absolute(request->path);
  char *second = path_absolute(request->second);
  int error;
  if (is_link) error = result(symlink(first, second));
  else if (request->operation == FILE_LINK) error = result(link(first, second));
  else error = result(rename(first, second));
  free(first);
  free(second);
  return error;
}

static int perform(struct operation *operation) {
  struct file_request *request = &operation->request;
  switch (request->operation) {
    case FILE_RENAME:
    case FILE_LINK:
    case FILE_SYMLINK:
      return with_two_paths(request);
    case FILE_MKTEMP:
      return make_temporary(operation);
    case FILE_CLOSE:
      return handle_close(request->handle) ? 0 : EBADF;
    case FILE_READ:
    case FILE_WRITE:
    case FILE_FSTAT:
    case FILE_FSYNC:
    case FILE_FTRUNCATE:
      return with_handle(operation);
    case FILE_MKSTREAM:
      return operation_mkstream(operation);
    default:
      break;
  }
  char *path = path_absolute(request->path);
  free(request->path);
  request->path = path;
  switch (request->operation) {
    case FILE_REMOVE:
      return operation_remove(operation);
    case FILE_COPY:
      return operation_copy(operation);
    case FILE_COPYFILE:
      return operation_copy_file(operation);
    case FILE_LIST:
      return operation_list(operation);
    case FILE_DOWNLOAD:
      return operation_download(operation);
    case FILE_UPLOAD:
      return operation_upload(operation, flags_of(request->flags));
    case FILE_WATCH:
      return operation_watch(operation);
    default:
      return with_path(operation, path);
  }
}
