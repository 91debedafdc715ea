/*
 * Tests of the files' side alone: requests go in as the main thread would give them, and frames come out here. Run as root
 * with the name of a directory that may be filled and emptied; prints what is wrong, and how much.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "../src/agent.h"
#include "../src/memory.h"

struct settings settings;

/* --- the rest of the agent -------------------------------------------------------------------------------------------- */

struct sent {
  struct sent *next;
  uint8_t type;
  uint32_t channel;
  size_t length;
  uint8_t bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct sent *first, **last = &first;

void send_frame(uint8_t type, uint8_t detail, uint32_t channel, const struct part *parts, size_t count) {
  (void)detail;
  size_t length = 0;
  for (size_t index = 0; index < count; index++) length += parts[index].length;
  struct sent *sent = allocate(sizeof *sent + length);
  *sent = (struct sent){.type = type, .channel = channel, .length = length};
  uint8_t *at = sent->bytes;
  for (size_t index = 0; index < count; index++) {
    if (parts[index].length > 0) memcpy(at, parts[index].bytes, parts[index].length);
    at += parts[index].length;
  }
  pthread_mutex_lock(&lock);
  *last = sent;
  last = &sent->next;
  pthread_cond_broadcast(&more);
  pthread_mutex_unlock(&lock);
}

void send_error(uint32_t channel, int error, uint8_t stage, const char *message) {
  (void)message;
  uint8_t bytes[5] = {(uint8_t)error, 0, 0, 0, stage};
  struct part part = {bytes, sizeof bytes};
  send_frame(FRAME_ERROR, 0, channel, &part, 1);
}

bool wait_for_room(void) { return true; }

static uint64_t read_number(struct reader *reader, size_t size) {
  uint64_t value = 0;
  if (reader->bad || (size_t)(reader->end - reader->at) < size) {
    reader->bad = true;
    return 0;
  }
  for (size_t index = 0; index < size; index++) value |= (uint64_t)*reader->at++ << (8 * index);
  return value;
}
uint8_t read_u8(struct reader *reader) { return (uint8_t)read_number(reader, 1); }
uint32_t read_u32(struct reader *reader) { return (uint32_t)read_number(reader, 4); }
uint64_t read_u64(struct reader *reader) { return read_number(reader, 8); }
int64_t read_i64(struct reader *reader) { return (int64_t)read_number(reader, 8); }
bool read_done(const struct reader *reader) { return !reader->bad && reader->at == reader->end; }
char *read_str(struct reader *reader) {
  size_t length = read_u32(reader);
  if (reader->bad || (size_t)(reader->end - reader->at) < length || memchr(reader->at, 0, length) != NULL) {
    reader->bad = true;
    length = 0;
  }
  char *string = allocate(length + 1);
  memcpy(string, reader->at, length);
  string[length] = 0;
  reader->at += length;
  return string;
}
static char malformed_text[200];
_Noreturn void malformed(const char *format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(malformed_text, sizeof malformed_text, format, list);
  va_end(list);
  fprintf(stderr, "malformed: %s\n", malformed_text);
  _exit(99);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------ */

static int failures;
#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      printf("line %d: not %s\n", __LINE__, #condition); \
      failures++; \
    } \
  } while (0)

static uint32_t channels;

/* s: string, b, u, q: numbers of 1, 4, 8 bytes; y: bytes and their number. */
static uint32_t ask_as(uint8_t detail, uint8_t operation, const char *format, ...) {
  static uint8_t payload[70000];
  size_t used = 0;
  payload[used++] = operation;
  va_list list;
  va_start(list, format);
  for (; *format != 0; format++) {
    uint64_t number = 0;
    size_t size = 0;
    switch (*format) {
      case 's': {
        const char *string = va_arg(list, const char *);
        size_t length = strlen(string);
        for (int index = 0; index < 4; index++) payload[used++] = (uint8_t)(length >> (8 * index));
        memcpy(payload + used, string, length);
        used += length;
        break;
      }
      case 'b': number = (uint64_t)va_arg(list, int), size = 1; break;
      case 'u': number = va_arg(list, unsigned), size = 4; break;
      case 'q': number = va_arg(list, uint64_t), size = 8; break;
      case 'y': {
        const void *bytes = va_arg(list, const void *);
        size_t length = va_arg(list, size_t);
        memcpy(payload + used, bytes, length);
        used += length;
        break;
      }
      default: abort();
    }
    for (size_t index = 0; index < size; index++) payload[used++] = (uint8_t)(number >> (8 * index));
  }
  va_end(list);
  uint32_t channel = ++channels;
  files_request(channel, detail, payload, used);
  return channel;
}
#define ask(...) ask_as(0, __VA_ARGS__)

/* The next frame of a channel; NULL after so many milliseconds. */
static struct sent *next_frame(uint32_t channel, long millis) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += millis / 1000;
  end.tv_nsec += millis % 1000 * 1000000;
  if (end.tv_nsec >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
  pthread_mutex_lock(&lock);
  for (;;) {
    for (struct sent **at = &first; *at != NULL; at = &(*at)->next) {
      struct sent *sent = *at;
      if (sent->channel != channel) continue;
      *at = sent->next;
      if (last == &sent->next) last = at;
      pthread_mutex_unlock(&lock);
      return sent;
    }
    if (pthread_cond_timedwait(&more, &lock, &end) == ETIMEDOUT) {
      pthread_mutex_unlock(&lock);
      return NULL;
    }
  }
}

static uint8_t answer[4 << 20];
static size_t answer_length;
static uint8_t data[4 << 20];
static size_t data_length;

/* Collects the data and gives the errno: 0 for a reply, -1 for CLOSED, -2 when nothing comes. Gives credit. */
static int result(uint32_t channel) {
  data_length = 0;
  for (;;) {
    struct sent *sent = next_frame(channel, 20000);
    if (sent == NULL) return -2;
    int value = 1000;
    switch (sent->type) {
      case FRAME_DATA_OUT:
        if (data_length + sent->length <= sizeof data) memcpy(data + data_length, sent->bytes, sent->length);
        data_length += sent->length;
        files_credit(channel, 1, (uint32_t)sent->length);
        break;
      case FRAME_REPLY:
        answer_length = sent->length;
        memcpy(answer, sent->bytes, sent->length);
        value = 0;
        break;
      case FRAME_ERROR: value = sent->bytes[0]; break;
      case FRAME_CLOSED: value = -1; break;
      default: break;
    }
    free(sent);
    if (value != 1000) return value;
  }
}

#define DO(...) result(ask(__VA_ARGS__))
static uint32_t number(size_t at) {
  return answer[at] | (uint32_t)answer[at + 1] << 8 | (uint32_t)answer[at + 2] << 16 | (uint32_t)answer[at + 3] << 24;
}
static bool answers(const char *string) {
  return answer_length == strlen(string) + 4 && memcmp(answer + 4, string, strlen(string)) == 0;
}
static bool listed(const char *name, uint8_t type) {
  for (size_t at = 0; at + 5 <= data_length;) {
    size_t length = data[at + 1] | (size_t)data[at + 2] << 8 | (size_t)data[at + 3] << 16;
    if (length == strlen(name) && memcmp(data + at + 5, name, length) == 0) return data[at] == type;
    at += 5 + length;
  }
  return false;
}
static size_t count_listed(void) {
  size_t count = 0;
  for (size_t at = 0; at + 5 <= data_length; count++) {
    at += 5 + (data[at + 1] | (size_t)data[at + 2] << 8 | (size_t)data[at + 3] << 16);
  }
  return count;
}

static int write_file(const char *path, const char *content) {
  uint32_t channel = ask(FILE_UPLOAD, "suu", path, 01101u, 0666u);
  if (content[0] != 0) files_data(channel, 0, (const uint8_t *)content, strlen(content));
  files_end(channel, 0);
  return result(channel);
}
static bool holds(const char *path, const char *content) {
  return DO(FILE_DOWNLOAD, "sqq", path, (uint64_t)0, UINT64_MAX) == 0 && data_length == strlen(content) &&
         memcmp(data, content, data_length) == 0;
}

static char *directory;
static int shell(const char *format, ...) {
  char command[4096];
  va_list list;
  va_start(list, format);
  vsnprintf(command, sizeof command, format, list);
  va_end(list);
  char *whole = text("umask 022; cd %s/work && { %s; }", directory, command);
  int status = system(whole);
  free(whole);
  return WEXITSTATUS(status);
}
/* Whether something has this owner, group and mode. */
static bool like(const char *name, unsigned uid, unsigned gid, unsigned mode) {
  char *path = text("%s/work/%s", directory, name);
  struct stat stat;
  bool found = lstat(path, &stat) == 0;
  free(path);
  return found && stat.st_uid == uid && stat.st_gid == gid && (stat.st_mode & 07777) == mode;
}
static void pause_millis(long millis) {
  struct timespec time = {millis / 1000, millis % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static pthread_mutex_t reset_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t reset_done = PTHREAD_COND_INITIALIZER;
static bool is_reset;
static char *reset_problem;
static void done(char *problem, void *argument) {
  (void)argument;
  pthread_mutex_lock(&reset_lock);
  is_reset = true;
  reset_problem = problem;
  pthread_cond_signal(&reset_done);
  pthread_mutex_unlock(&reset_lock);
}
static bool reset(void) {
  pthread_mutex_lock(&reset_lock);
  is_reset = false;
  places_reset(done, NULL);
  while (!is_reset) pthread_cond_wait(&reset_done, &reset_lock);
  pthread_mutex_unlock(&reset_lock);
  if (reset_problem != NULL) printf("reset: %s\n", reset_problem);
  bool good = reset_problem == NULL;
  free(reset_problem);
  return good;
}

/* --- tests ------------------------------------------------------------------------------------------------------------------------ */

static void test_names(void) {
  CHECK(write_file("file", "content") == 0);
  CHECK(holds("file", "content"));
  CHECK(DO(FILE_STAT, "sb", "file", 1) == 0 && answer_length == 1 + 8 + 8 + 4 + 8 + 4 + 4 + 8 * 4 + 32);
  CHECK(answer[0] == TYPE_FILE && number(17) == 0644 && number(29) == 1234 && number(33) == 1235);
  CHECK(DO(FILE_STAT, "sb", "missing", 1) == ENOENT);
  CHECK(DO(FILE_STAT, "sb", "", 1) == ENOENT);
  CHECK(DO(FILE_STAT, "sb", "file/inner", 0) == ENOTDIR);
  CHECK(DO(FILE_MKDIR, "sub", "file", 0777u, 0) == EEXIST);
  CHECK(DO(FILE_MKDIR, "sub", "file", 0777u, 1) == EEXIST);
  CHECK(DO(FILE_MKDIR, "sub", "file/new", 0777u, 1) == ENOTDIR);
  CHECK(DO(FILE_MKDIR, "sub", "file/new", 0777u, 0) == ENOTDIR);
  CHECK(DO(FILE_MKDIR, "sub", "a/b/c", 0777u, 1) == 0);
  CHECK(DO(FILE_MKDIR, "sub", "a/b/c", 0777u, 1) == 0);
  CHECK(DO(FILE_MKDIR, "sub", ".", 0777u, 0) == EEXIST);
  CHECK(DO(FILE_MKDIR, "sub", "missing/new", 0777u, 0) == ENOENT);
  CHECK(DO(FILE_SYMLINK, "ss", "nowhere", "dangling") == 0);
  CHECK(DO(FILE_MKDIR, "sub", "dangling/x", 0777u, 1) == ENOTDIR);
  CHECK(DO(FILE_READLINK, "s", "dangling") == 0 && answers("nowhere"));
  CHECK(DO(FILE_READLINK, "s", "file") == EINVAL);
  CHECK(DO(FILE_SYMLINK, "ss", "loop", "loop") == 0);
  CHECK(DO(FILE_STAT, "sb", "loop", 1) == ELOOP);
  CHECK(DO(FILE_STAT, "sb", "loop", 0) == 0 && answer[0] == TYPE_LINK);
  CHECK(DO(FILE_REALPATH, "s", "loop") == ELOOP);
  CHECK(DO(FILE_REALPATH, "s", "missing") == ENOENT);
  CHECK(DO(FILE_SYMLINK, "ss", "a/b", "link") == 0);
  CHECK(DO(FILE_SYMLINK, "ss", "link/c", "second") == 0);
  char *expected = text("%s/work/a/b/c", directory);
  CHECK(DO(FILE_REALPATH, "s", "second") == 0 && answers(expected));
  CHECK(DO(FILE_REALPATH, "s", "a/../a/./b//c/") == 0 && answers(expected));
  CHECK(DO(FILE_REALPATH, "s", "/") == 0 && answers("/"));
  free(expected);
  CHECK(DO(FILE_RENAME, "ss", "missing", "x") == ENOENT);
  CHECK(DO(FILE_RENAME, "ss", "file", "a") == EISDIR);
  CHECK(DO(FILE_RENAME, "ss", "a", "file") == ENOTDIR);
  CHECK(DO(FILE_RENAME, "ss", "a", "a/b/x") == EINVAL);
  CHECK(DO(FILE_LINK, "ss", "file", "hard") == 0);
  CHECK(DO(FILE_LINK, "ss", "a", "hard2") == EPERM);
  CHECK(DO(FILE_STAT, "sb", "hard", 1) == 0 && number(21) == 2);
  CHECK(DO(FILE_CHMOD, "su", "file", 0400u) == 0);
  CHECK(DO(FILE_ACCESS, "sb", "file", 4) == 0);
  CHECK(DO(FILE_ACCESS, "sb", "file", 2) == EACCES);
  CHECK(DO(FILE_ACCESS, "sb", "missing", 0) == ENOENT);
  CHECK(write_file("file", "x") == EACCES);
  CHECK(DO(FILE_CHMOD, "su", "/etc/passwd", 0666u) == EPERM);
  CHECK(DO(FILE_CHOWN, "suu", "file", 0u, 0u) == EPERM);
  CHECK(DO(FILE_CHOWN, "suu", "file", 1234u, 1235u) == 0);
  CHECK(DO(FILE_CHOWN, "suu", "file", 1234u, 1236u) == 0); /* another group of the user */
  CHECK(DO(FILE_CHOWN, "suu", "file", 1234u, SANDBOX_GROUP) == EPERM);
  CHECK(DO(FILE_CHMOD, "su", "file", 0600u) == 0);
  CHECK(DO(FILE_TRUNCATE, "sq", "file", (uint64_t)3) == 0 && holds("hard", "con"));
  CHECK(DO(FILE_TRUNCATE, "sq", "a", (uint64_t)3) == EISDIR);
  CHECK(DO(FILE_TRUNCATE, "sq", "file", UINT64_MAX) == EINVAL);
  CHECK(DO(FILE_UTIMES, "sqq", "file", (uint64_t)1500000000, (uint64_t)-1500000000) == 0);
  CHECK(DO(FILE_STAT, "sb", "file", 1) == 0 && number(69) == 1500000000u && number(77) == (uint32_t)-1500000000);
  CHECK(DO(FILE_MKTEMP, "sssb", "a", "pre-", ".txt", 0) == 0 && answer_length == 4 + 2 + 4 + 6 + 4);
  CHECK(DO(FILE_MKTEMP, "sssb", "a", "", "", 1) == 0 && answer_length == 4 + 2 + 6);
  CHECK(DO(FILE_MKTEMP, "sssb", "missing", "", "", 1) == ENOENT);
  /* Nobody reads with root's rights. */
  CHECK(DO(FILE_DOWNLOAD, "sqq", "/etc/shadow", (uint64_t)0, UINT64_MAX) == EACCES);
  CHECK(DO(FILE_LIST, "sb", "/root", 0) == EACCES);
}

static void test_lists(void) {
  shell("mkdir -p l/a/b l/empty; touch l/a/b/f l/top; ln -s a l/link; ln -s .. l/a/up; mkfifo l/pipe; chown -R 1234 .");
  CHECK(DO(FILE_LIST, "sb", "l", 0) == 0 && count_listed() == 5);
  CHECK(listed("a", TYPE_DIRECTORY) && listed("pipe", TYPE_FIFO) && listed("link", TYPE_LINK) && listed("top", TYPE_FILE));
  CHECK(DO(FILE_LIST, "sb", "l/", 2) == 0 && count_listed() == 8 && listed("a/b/f", TYPE_FILE));
  CHECK(DO(FILE_LIST, "sb", "l", 1) == 0 && listed("link/b/f", TYPE_FILE) && !listed("link/up/a", TYPE_DIRECTORY));
  CHECK(DO(FILE_LIST, "sb", "l/top", 0) == ENOTDIR);
  CHECK(DO(FILE_LIST, "sb", "missing", 1) == ENOENT);
  shell("mkdir many; cd many; for i in $(seq 5000); do : >file-$i; done");
  CHECK(DO(FILE_LIST, "sb", "many", 0) == 0 && count_listed() == 5000 && listed("file-4999", TYPE_FILE));
}

static void test_remove(void) {
  CHECK(DO(FILE_REMOVE, "sbb", "missing", 0, 0) == ENOENT);
  CHECK(DO(FILE_REMOVE, "sbb", "missing/x", 1, 1) == 0);
  CHECK(DO(FILE_MKDIR, "sub", "r/a/b", 0777u, 1) == 0 && write_file("r/a/b/f", "x") == 0 && write_file("kept", "k") == 0);
  CHECK(DO(FILE_REMOVE, "sbb", "r", 0, 0) == EISDIR);
  shell("ln -s ../../kept r/a/out; ln -s ../.. r/a/up; mkdir r/closed; touch r/closed/f; chown -R 1234 r; chmod 0 r/closed");
  CHECK(DO(FILE_REMOVE, "sbb", "r", 1, 0) == EACCES);
  shell("chmod 700 r/closed");
  CHECK(DO(FILE_REMOVE, "sbb", "r", 1, 0) == 0 && DO(FILE_STAT, "sb", "r", 0) == ENOENT);
  CHECK(holds("kept", "k"));
  CHECK(DO(FILE_MKDIR, "sub", "d", 0777u, 0) == 0 && DO(FILE_SYMLINK, "ss", "d", "to-d") == 0);
  CHECK(DO(FILE_REMOVE, "sbb", "to-d", 1, 0) == 0 && DO(FILE_STAT, "sb", "d", 0) == 0);
}

/* A directory in a directory, and so on. */
static void make_deep(const char *top, int levels) {
  char *path = text("%s/work/%s", directory, top);
  mkdir(path, 0755);
  if (chown(path, 1234, 1235) != 0) abort();
  int fd = open(path, O_RDONLY | O_DIRECTORY);
  free(path);
  for (int level = 0; level < levels; level++) {
    if (mkdirat(fd, "level", 0755) != 0 || fchownat(fd, "level", 1234, 1235, 0) != 0) abort();
    int file = openat(fd, "file", O_CREAT | O_WRONLY, 0644);
    close(file);
    int next = openat(fd, "level", O_RDONLY | O_DIRECTORY);
    close(fd);
    fd = next;
  }
  close(fd);
}

static void test_deep(void) {
  make_deep("deep", 3000);
  CHECK(DO(FILE_LIST, "sb", "deep", 1) == 0 && data_length > sizeof data);
  CHECK(DO(FILE_COPY, "ssbb", "deep", "deep2", 0, 0) == 0);
  CHECK(DO(FILE_REMOVE, "sbb", "deep", 1, 0) == 0);
  CHECK(DO(FILE_REMOVE, "sbb", "deep2", 1, 0) == 0);
  CHECK(shell("ls -d deep* 2>/dev/null | grep .") == 1);
}

static void test_copies(void) {
  shell("mkdir -p c/a/b c/empty; echo 1 >c/file; echo 2 >c/a/b/.hidden; chmod 750 c/a; chmod 4755 c/file; chmod 555 c/empty;"
        "ln -s file c/link; ln -s /abs c/abs; mkfifo pipe; touch -d @1000 c/file; chown -hR 1234 c pipe; chmod 4755 c/file");
  CHECK(DO(FILE_COPY, "ssbb", "c", "t/o", 0, 1) == 0);
  CHECK(holds("t/o/a/b/.hidden", "2\n"));
  CHECK(DO(FILE_STAT, "sb", "t/o/a", 1) == 0 && number(17) == 0750);
  CHECK(DO(FILE_STAT, "sb", "t/o/empty", 1) == 0 && number(17) == 0555);
  CHECK(DO(FILE_STAT, "sb", "t/o/file", 1) == 0 && number(17) == 04755);
  CHECK(DO(FILE_STAT, "sb", "t/o/a/b/.hidden", 1) == 0 && number(17) == 0644);
  char *aim = text("%s/work/c/file", directory);
  CHECK(DO(FILE_READLINK, "s", "t/o/link") == 0 && answers(aim));
  free(aim);
  CHECK(DO(FILE_READLINK, "s", "t/o/abs") == 0 && answers("/abs"));
  CHECK(write_file("t/o/file", "old") == 0);
  CHECK(DO(FILE_COPY, "ssbb", "c/file", "t/o/file", 0, 0) == 0 && holds("t/o/file", "old"));
  CHECK(DO(FILE_COPY, "ssbb", "c/file", "t/o/file", 1, 0) == 0 && holds("t/o/file", "1\n"));
  CHECK(DO(FILE_COPY, "ssbb", "c", "c/x", 0, 0) == EINVAL);
  CHECK(DO(FILE_COPY, "ssbb", "c", "c", 0, 0) == EINVAL);
  CHECK(DO(FILE_SYMLINK, "ss", "c/a", "into") == 0);
  CHECK(DO(FILE_COPY, "ssbb", "c", "into/x", 0, 0) == EINVAL);
  CHECK(DO(FILE_COPY, "ssbb", "c", "c/file", 0, 0) == EISDIR);
  CHECK(DO(FILE_COPY, "ssbb", "c/file", "c/a", 0, 0) == ENOTDIR);
  CHECK(DO(FILE_COPY, "ssbb", "missing", "x", 0, 0) == ENOENT);
  CHECK(DO(FILE_COPY, "ssbb", "pipe", "x", 0, 0) == EINVAL);
  CHECK(DO(FILE_COPYFILE, "ss", "c/file", "copied") == 0 && holds("copied", "1\n"));
  CHECK(DO(FILE_COPYFILE, "ss", "copied", "copied") == 0 && holds("copied", "1\n"));
  CHECK(DO(FILE_COPYFILE, "ss", "c", "copied-dir") == EISDIR && DO(FILE_STAT, "sb", "copied-dir", 1) == ENOENT);
  CHECK(DO(FILE_COPYFILE, "ss", "c/file", "c/a") == EISDIR);
  CHECK(DO(FILE_COPYFILE, "ss", "c/file", "missing/x") == ENOENT);
  CHECK(DO(FILE_COPYFILE, "ss", "/proc/version", "version") == 0);
}

static void test_handles(void) {
  CHECK(DO(FILE_OPEN, "suu", "h", 02u | 0100u, 0644u) == 0);
  uint32_t handle = number(0);
  CHECK(DO(FILE_WRITE, "uqy", handle, (uint64_t)-1, "abcdef", (size_t)6) == 0 && number(0) == 6);
  CHECK(DO(FILE_WRITE, "uqy", handle, (uint64_t)1, "B", (size_t)1) == 0);
  CHECK(DO(FILE_READ, "uqu", handle, (uint64_t)0, 100u) == 0 && answer_length == 6 && memcmp(answer, "aBcdef", 6) == 0);
  CHECK(DO(FILE_READ, "uqu", handle, (uint64_t)-1, 100u) == 0 && answer_length == 0);
  CHECK(DO(FILE_FTRUNCATE, "uq", handle, (uint64_t)2) == 0 && holds("h", "aB"));
  CHECK(DO(FILE_FSTAT, "u", handle) == 0 && answer[0] == TYPE_FILE);
  CHECK(DO(FILE_FSYNC, "u", handle) == 0);
  uint32_t stream = ask(FILE_MKSTREAM, "u", handle);
  files_data(stream, 0, (const uint8_t *)"xyz", 3);
  files_end(stream, 0);
  CHECK(result(stream) == 0 && number(0) == 3);
  CHECK(DO(FILE_CLOSE, "u", handle) == 0 && DO(FILE_CLOSE, "u", handle) == EBADF);
  for (int index = 0; index < 30; index++) CHECK(DO(FILE_OPEN, "suu", "kept", 02u, 0u) == 0 && number(0) != handle);
  CHECK(DO(FILE_READ, "uqu", handle, (uint64_t)0, 1u) == EBADF);
  CHECK(DO(FILE_WRITE, "uqy", handle, (uint64_t)0, "x", (size_t)1) == EBADF);
  CHECK(DO(FILE_MKSTREAM, "u", handle) == EBADF && DO(FILE_FSTAT, "u", 0u) == EBADF);
  CHECK(DO(FILE_OPEN, "suu", "kept", 0201u | 0100u, 0644u) == EEXIST);
  CHECK(DO(FILE_SYMLINK, "ss", "kept", "to-kept") == 0 && DO(FILE_OPEN, "suu", "to-kept", 0400000u, 0u) == ELOOP);
}

static void test_streams(void) {
  enum { SIZE = 50 << 20, PIECE = 65536 };
  static uint8_t piece[PIECE];
  for (size_t index = 0; index < PIECE; index++) piece[index] = (uint8_t)(index * 31);
  uint32_t channel = ask(FILE_UPLOAD, "suu", "large", 01101u, 0644u);
  uint64_t credit = STREAM_CREDIT;
  for (size_t sent = 0; sent < SIZE; sent += PIECE) {
    while (credit < PIECE) {
      struct sent *frame = next_frame(channel, 5000);
      CHECK(frame != NULL && frame->type == FRAME_CREDIT_OUT);
      if (frame == NULL) return;
      memcpy(answer, frame->bytes, frame->length);
      credit += number(0);
      free(frame);
    }
    files_data(channel, 0, piece, PIECE);
    credit -= PIECE;
  }
  files_end(channel, 0);
  CHECK(result(channel) == 0 && number(0) == SIZE);
  CHECK(DO(FILE_DOWNLOAD, "sqq", "large", (uint64_t)0, UINT64_MAX) == 0 && data_length == SIZE && number(0) == SIZE);
  CHECK(DO(FILE_DOWNLOAD, "sqq", "large", (uint64_t)PIECE + 1, (uint64_t)10) == 0 && data_length == 10 && data[0] == 31);
  CHECK(DO(FILE_DOWNLOAD, "sqq", "large", (uint64_t)SIZE + 7, (uint64_t)10) == 0 && data_length == 0);
  CHECK(DO(FILE_DOWNLOAD, "sqq", "c", (uint64_t)0, UINT64_MAX) == EISDIR);
  CHECK(write_file("/dev/full", "x") == ENOSPC);
  /* Without credit it stops, and can be abandoned. */
  channel = ask(FILE_DOWNLOAD, "sqq", "large", (uint64_t)0, UINT64_MAX);
  size_t got = 0;
  for (struct sent *frame; (frame = next_frame(channel, 300)) != NULL; free(frame)) got += frame->length;
  CHECK(got == STREAM_CREDIT);
  files_close(channel);
  CHECK(result(channel) == -1 && !files_owns(channel));
  channel = ask(FILE_UPLOAD, "suu", "partial", 01101u, 0644u);
  files_data(channel, 0, piece, 100);
  pause_millis(20);
  files_close(channel);
  CHECK(result(channel) == -1);
}

static void test_fifos(void) {
  /* Many that hang, more than threads come at once, and none keeps another from going on. */
  enum { MANY = 80 };
  uint32_t hanging[MANY];
  shell("mkfifo fifo; chown 1234 fifo");
  for (int index = 0; index < MANY; index++) hanging[index] = ask(FILE_OPEN, "suu", "fifo", 0u, 0u);
  CHECK(DO(FILE_STAT, "sb", "fifo", 1) == 0 && answer[0] == TYPE_FIFO);
  for (int index = 1; index < MANY; index++) files_close(hanging[index]);
  for (int index = 1; index < MANY; index++) CHECK(result(hanging[index]) == -1);
  CHECK(next_frame(hanging[0], 50) == NULL);
  uint32_t writer = ask(FILE_UPLOAD, "suu", "fifo", 01u, 0u);
  CHECK(result(hanging[0]) == 0);
  uint32_t handle = number(0);
  uint32_t reader = ask(FILE_READ, "uqu", handle, (uint64_t)-1, 100u);
  CHECK(next_frame(reader, 50) == NULL);
  files_data(writer, 0, (const uint8_t *)"hello", 5);
  CHECK(result(reader) == 0 && answer_length == 5);
  reader = ask(FILE_READ, "uqu", handle, (uint64_t)-1, 100u);
  files_close(reader);
  CHECK(result(reader) == -1);
  files_end(writer, 0);
  CHECK(result(writer) == 0);
  CHECK(DO(FILE_CLOSE, "u", handle) == 0);
}

static int next_event(uint32_t channel, char *name) {
  struct sent *frame = next_frame(channel, 3000);
  if (frame == NULL) return -1;
  int kind = frame->type == FRAME_EVENT ? frame->bytes[0] : 100 + frame->type;
  name[0] = 0;
  if (frame->type == FRAME_EVENT) {
    memcpy(name, frame->bytes + 5, frame->length - 5);
    name[frame->length - 5] = 0;
  }
  free(frame);
  return kind;
}
static bool has_event(uint32_t channel, int kind, const char *name) {
  char told[5000] = "";
  for (int next; (next = next_event(channel, told)) >= 0;) {
    if (next == kind && strcmp(name, told) == 0) return true;
  }
  return false;
}

static void test_watches(void) {
  CHECK(DO(FILE_WATCH, "sb", "missing", 0) == ENOENT);
  CHECK(DO(FILE_MKDIR, "sub", "w/sub", 0777u, 1) == 0);
  char name[5000];
  uint32_t flat = ask(FILE_WATCH, "sb", "w", 0);
  uint32_t all = ask_as(1, FILE_WATCH, "sb", "w", 1);
  CHECK(next_event(flat, name) == EVENT_READY && next_event(all, name) == EVENT_READY);
  CHECK(write_file("w/file", "x") == 0);
  CHECK(has_event(flat, EVENT_CREATED, "file") && has_event(flat, EVENT_CHANGED, "file"));
  CHECK(write_file("w/sub/inner", "x") == 0);
  CHECK(has_event(all, EVENT_CREATED, "sub/inner"));
  shell("mkdir -p w/new/deep/er; echo x >w/new/deep/er/file; mv w/new w/moved; echo y >w/moved/deep/later; rm -r w/moved/deep/er");
  CHECK(has_event(all, EVENT_REMOVED, "new") && has_event(all, EVENT_CREATED, "moved"));
  CHECK(has_event(all, EVENT_CREATED, "moved/deep/later") && has_event(all, EVENT_REMOVED, "moved/deep/er"));
  CHECK(DO(FILE_REMOVE, "sbb", "w/file", 0, 0) == 0 && has_event(flat, EVENT_REMOVED, "file"));
  files_close(flat);
  CHECK(has_event(flat, 100 + FRAME_CLOSED, ""));
  shell("rm -r w");
  CHECK(has_event(all, EVENT_REMOVED, ""));
  files_close(all);
  CHECK(has_event(all, 100 + FRAME_CLOSED, ""));
  CHECK(write_file("single", "") == 0);
  uint32_t single = ask(FILE_WATCH, "sb", "single", 1);
  CHECK(next_event(single, name) == EVENT_READY && write_file("single", "x") == 0 && has_event(single, EVENT_CHANGED, ""));
  files_close(single);
  CHECK(has_event(single, 100 + FRAME_CLOSED, ""));
}

static void test_resets(void) {
  CHECK(reset());
  CHECK(shell("ls -A | tr '\\n' ' ' | grep -qx 'seeded '") == 0);
  CHECK(like("seeded/exec", 1234, 1235, 0751) && like("seeded/dir", 1234, 1235, 0500));
  CHECK(shell("[ $(readlink seeded/link) = exec ] && [ seeded/exec -ot / ]") == 0);
  make_deep("deep", 3000);
  shell("mkdir -p a/b 'new\nline' $(printf '\\377'); touch a/b/file; ln -s / root; mkfifo pipe; chmod 0 a/b a; chown -R 1234 .; chmod 0 .;"
        "chown 0 seeded; mkdir -p ../tmp/x; echo y >../tmp/x/y");
  char *work = text("%s/work", directory);
  CHECK(setxattr(work, "user.x", "1", 1, 0) == 0 || errno == ENOTSUP);
  char *nothing = text("%s/tmp/nothing", directory);
  uint32_t hanging = ask(FILE_OPEN, "suu", nothing, 0100u, 0644u);
  free(nothing);
  CHECK(result(hanging) == 0);
  uint32_t handle = number(0);
  shell("mkfifo -m 666 ../tmp/fifo");
  char *fifo = text("%s/tmp/fifo", directory);
  uint32_t opening = ask(FILE_OPEN, "suu", fifo, 0u, 0u);
  uint32_t uploading = ask(FILE_UPLOAD, "suu", "up", 01101u, 0644u);
  char *top = text("%s/tmp", directory);
  uint32_t watching = ask(FILE_WATCH, "sb", top, 1);
  uint32_t kept = ask_as(1, FILE_WATCH, "sb", top, 0);
  char name[5000];
  CHECK(next_event(watching, name) == EVENT_READY && next_event(kept, name) == EVENT_READY);
  CHECK(reset());
  CHECK(result(opening) == -1);
  int uploaded = result(uploading);
  CHECK(uploaded == -1 || uploaded == EACCES);
  CHECK(has_event(watching, 100 + FRAME_CLOSED, ""));
  CHECK(files_owns(kept));
  CHECK(has_event(kept, EVENT_REMOVED, "fifo"));
  files_close(kept);
  CHECK(has_event(kept, 100 + FRAME_CLOSED, ""));
  CHECK(DO(FILE_READ, "uqu", handle, (uint64_t)0, 1u) == EBADF);
  CHECK(shell("ls -A | tr '\\n' ' ' | grep -qx 'seeded '") == 0);
  CHECK(shell("ls -A ../tmp | grep -q .") == 1);
  CHECK(getxattr(work, "user.x", NULL, 0) < 0);
  free(work);
  CHECK(like(".", 1234, 1235, 0755));
  /* Another thing in its place, and a link to somewhere else. */
  shell("mkdir ../outside ../outside/kept; cd ..; mv work tmp/away; ln -s outside work");
  CHECK(reset());
  CHECK(shell("[ ! -L ../work ] && [ -d ../outside/kept ] && ls -A ../tmp | grep -q .") == 1);
  /* What is mounted inside stays. */
  if (shell("mkdir -p m/n; mount -t tmpfs none m/n && mkdir m/n/kept && touch m/other") == 0) {
    CHECK(reset());
    CHECK(shell("[ -d m/n/kept ] && [ ! -e m/other ]") == 0);
    shell("umount m/n");
    CHECK(reset());
    CHECK(shell("[ ! -e m ]") == 0);
  }
  /* Home. */
  char *in_home = text("%s/home/deep/er", directory);
  char *file = text("%s/home/deep/er/file", directory);
  CHECK(DO(FILE_MKDIR, "sub", in_home, 0700u, 1) == EACCES);
  CHECK(result(ask_as(1, FILE_MKDIR, "sub", in_home, 0700u, 1)) == 0);
  uint32_t up = ask_as(1, FILE_UPLOAD, "suu", file, 01101u, 0640u);
  files_end(up, 0);
  CHECK(result(up) == 0);
  CHECK(DO(FILE_CHMOD, "su", file, 0777u) == EACCES && DO(FILE_TRUNCATE, "sq", file, (uint64_t)0) == EACCES);
  CHECK(result(ask_as(1, FILE_CHMOD, "su", file, 0660u)) == 0);
  /* What commands of the sandbox have made is theirs until the next reset, and can be changed and removed. */
  shell("ln -s /etc/passwd ../home/link; mkdir -m 755 ../home/own; echo x >../home/own/x; echo x >../home/own/y;"
        "chown -hR 1234:64999 ../home/link ../home/own");
  char *own = text("%s/home/own/x", directory);
  CHECK(result(ask_as(1, FILE_TRUNCATE, "sq", own, (uint64_t)0)) == 0 && result(ask_as(1, FILE_REMOVE, "sbb", own, 0, 0)) == 0);
  CHECK(result(ask_as(1, FILE_COPY, "ssbb", "seeded", in_home, 0, 0)) == 0 && DO(FILE_LIST, "sb", in_home, 0) == EACCES);
  free(own);
  CHECK(reset());
  CHECK(like("../home/deep/er", SANDBOX_GROUP, SANDBOX_GROUP, 02770));
  CHECK(like("../home/deep/er/file", SANDBOX_GROUP, SANDBOX_GROUP, 0660));
  CHECK(like("../home/own", SANDBOX_GROUP, SANDBOX_GROUP, 02775) && like("../home/own/y", SANDBOX_GROUP, SANDBOX_GROUP, 0664));
  CHECK(like("../home/link", SANDBOX_GROUP, SANDBOX_GROUP, 0777) && like("../../../../../../../../etc/passwd", 0, 0, 0644));
  CHECK(DO(FILE_REMOVE, "sbb", file, 0, 0) == EACCES);
  CHECK(result(ask_as(1, FILE_REMOVE, "sbb", file, 0, 0)) == 0);
  free(in_home);
  free(file);
  free(fifo);
  free(top);
}

/* Others move directories about while trees are removed and emptied. */
static void test_races(void) {
  shell("mkdir -p ../tmp/safe; echo kept >../tmp/safe/file");
  for (int round = 0; round < 15; round++) {
    shell("mkdir -p r/1/2/3/4/5 other; touch r/1/2/3/4/5/f; chown -R 1234 r other;"
          "(for i in 1 2 3 4 5 6 7 8; do mv r/1/2/3 other/ 2>/dev/null; ln -s ../../../tmp/safe r/1/2/3 2>/dev/null;"
          "rm -f r/1/2/3; mv other/3 r/1/2/ 2>/dev/null; done) 2>/dev/null & :");
    DO(FILE_REMOVE, "sbb", "r", 1, 1);
  }
  pause_millis(300);
  CHECK(shell("cat ../tmp/safe/file | grep -q kept") == 0);
  CHECK(reset());
}

static size_t count_descriptors(void) {
  size_t count = 0;
  for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

int main(int count, char **arguments) {
  directory = count < 2 ? NULL : realpath(arguments[1], NULL);
  if (directory == NULL || geteuid() != 0) {
    printf("needs root and the name of a directory\n");
    return 77;
  }
  umask(022);
  static gid_t groups[] = {1236};
  static char *places[1];
  static struct seed seeds[1];
  places[0] = text("%s/tmp", directory);
  seeds[0] = (struct seed){text("%s/image", directory), text("%s/work/seeded", directory)};
  settings = (struct settings){
      .uid = 1234,
      .gid = 1235,
      .groups = groups,
      .group_count = 1,
      .workdir = text("%s/work", directory),
      .home = text("%s/home", directory),
      .writable = places,
      .writable_count = 1,
      .seeds = seeds,
      .seed_count = 1,
  };
  char *prepare = text("umask 022; cd %s && rm -rf work tmp home image outside && mkdir -m 1777 tmp && mkdir -p image/dir && "
                       "touch -d @1000 image/exec && chmod 751 image/exec && ln -s exec image/link && chmod 500 image/dir",
                       directory);
  if (system(prepare) != 0) return 1;
  free(prepare);
  files_start();
  char *problem = places_prepare();
  if (problem != NULL) {
    printf("prepare: %s\n", problem);
    return 1;
  }
  CHECK(like(".", 1234, 1235, 0755) && like("../home", SANDBOX_GROUP, SANDBOX_GROUP, 02775));
  CHECK(like("../tmp", 0, 0, 01777));
  static const struct { const char *name; void (*run)(void); } tests[] = {
      {"names", test_names},     {"lists", test_lists},   {"remove", test_remove}, {"deep", test_deep},
      {"copies", test_copies},   {"handles", test_handles}, {"streams", test_streams}, {"fifos", test_fifos},
      {"watches", test_watches}, {"resets", test_resets}, {"races", test_races},
  };
  reset();
  size_t before = count_descriptors();
  for (size_t index = 0; index < sizeof tests / sizeof *tests; index++) {
    int failed = failures;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    tests[index].run();
    clock_gettime(CLOCK_MONOTONIC, &end);
    long millis = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
    printf("%s %s (%ld ms)\n", failures == failed ? "ok" : "FAILED", tests[index].name, millis);
  }
  reset();
  pause_millis(100);
  CHECK(count_descriptors() == before);
  printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
