/*
 * Copies as Node's `cp` and `copyFile` make them: what exists is kept unless it may be overwritten, modes come along, and
 * relative links become absolute.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

/* --- content ---------------------------------------------------------------------------------------------------------- */

enum { AT_ONCE = 1024 * 1024, BUFFER = 64 * 1024 };

static int write_all(int to, const uint8_t *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(to, bytes, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes += written;
    length -= (size_t)written;
  }
  return 0;
}

static bool stops(struct operation *operation) {
  if (operation != NULL) return is_cancelled(operation);
  workers_tick();
  return false;
}

static int copy_by_hand(struct operation *operation, int from, int to) {
  uint8_t *buffer = allocate(BUFFER);
  int error = 0;
  while (error == 0) {
    ssize_t count = read(from, buffer, BUFFER);
    if (count == 0) break;
    if (count < 0) error = errno == EINTR ? 0 : errno;
    else error = write_all(to, buffer, (size_t)count);
    if (error == 0 && stops(operation)) error = ECANCELED;
  }
  free(buffer);
  return error;
}

int copy_data(struct operation *operation, int from, int to) {
  struct stat stat;
  if (fstat(from, &stat) != 0) return errno;
  /* Files such as those of /proc have content and no size. */
  while (S_ISREG(stat.st_mode) && stat.st_size > 0) {
    ssize_t count = copy_file_range(from, NULL, to, NULL, AT_ONCE, 0);
    if (count == 0) return 0;
    if (count < 0 && errno != EINTR) {
      if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO) return errno;
      break; /* not here, or not between these two */
    }
    if (stops(operation)) return ECANCELED;
  }
  return copy_by_hand(operation, from, to);
}

/* --- one file by path ------------------------------------------------------------------------------------------------- */

/* As far as it may; what is made in `home` belongs to nobody else. */
static void keep_owner(const struct operation *operation, int fd, const struct stat *source) {
  if (operation->identity == AS_HOME) return;
  if (fchown(fd, source->st_uid, source->st_gid) != 0) errno = 0;
}

static int copy_into(struct operation *operation, int from, int to, bool *is_target) {
  struct stat source, target;
  if (fstat(from, &source) != 0 || fstat(to, &target) != 0) return errno;
  *is_target = S_ISREG(target.st_mode) && (source.st_dev != target.st_dev || source.st_ino != target.st_ino);
  if (source.st_dev == target.st_dev && source.st_ino == target.st_ino) return 0;
  if (ftruncate(to, 0) != 0) return errno;
  keep_owner(operation, to, &source);
  if (fchmod(to, shared(operation, source.st_mode & 07777)) != 0) return errno;
  if (S_ISDIR(source.st_mode)) return EISDIR;
  return S_ISREG(source.st_mode) ? copy_data(operation, from, to) : 0;
}

int operation_copy_file(struct operation *operation) {
  const char *path = operation->request.path;
  char *target = path_absolute(operation->request.second);
  int error = 0;
  int to = -1;
  int from = open_waiting(operation, path, O_RDONLY, 0);
  struct stat stat;
  if (from < 0 || fstat(from, &stat) != 0) error = errno;
  if (error == 0) {
    to = open_waiting(operation, target, O_WRONLY | O_CREAT, made(operation, stat.st_mode));
    if (to < 0) {
      error = errno;
      operation->stage = STAGE_SECOND_PATH;
    }
  }
  if (error == 0) {
    bool is_target = false;
    error = copy_into(operation, from, to, &is_target);
    /* What cannot be copied whole is removed again. */
    if (error != 0 && is_target) unlink(target);
  }
  if (to >= 0) close(to);
  if (from >= 0) close(from);
  free(target);
  return error;
}

/* --- trees --------------------------------------------------------------------------------------------------------------- */

struct copying {
  struct operation *operation;
  struct walk from, to;
  char *source, *target; /* resolved paths, where the walks start */
};

/* One thing and where it is to go, each by a name in a directory. */
struct pair {
  int from, to;
  const char *name, *target;
  struct stat source, old;
  bool exists;
};

static int look(struct operation *operation, struct pair *pair) {
  if (fstatat(pair->from, pair->name, &pair->source, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  pair->exists = fstatat(pair->to, pair->target, &pair->old, AT_SYMLINK_NOFOLLOW) == 0;
  operation->stage = STAGE_SECOND_PATH;
  if (!pair->exists && errno != ENOENT) return errno;
  if (pair->exists) {
    if (pair->source.st_dev == pair->old.st_dev && pair->source.st_ino == pair->old.st_ino) return EINVAL;
    bool is_directory = S_ISDIR(pair->source.st_mode);
    if (is_directory && !S_ISDIR(pair->old.st_mode)) return EISDIR;
    if (!is_directory && S_ISDIR(pair->old.st_mode)) return ENOTDIR;
  }
  operation->stage = STAGE_OPERATION;
  return 0;
}

static int copy_content(struct operation *operation, const struct pair *pair, int from) {
  const struct stat *source = &pair->source;
  int to = openat(pair->to, pair->target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, source->st_mode & 0755);
  if (to < 0) {
    operation->stage = STAGE_SECOND_PATH;
    return errno;
  }
  int error = 0;
  keep_owner(operation, to, source);
  error = copy_data(operation, from, to);
  /* Afterwards, as writing takes set-user and set-group bits away. */
  if (error == 0 && fchmod(to, shared(operation, source->st_mode & 07777)) != 0) error = errno;
  if (error == 0 && operation->request.times) {
    struct timespec times[2] = {source->st_atim, source->st_mtim};
    if (futimens(to, times) != 0) error = errno;
  }
  close(to);
  if (error != 0) unlinkat(pair->to, pair->target, 0);
  return error;
}

static int copy_file(struct operation *operation, const struct pair *pair) {
  if (!S_ISREG(pair->source.st_mode)) return EINVAL; /* opening a FIFO or a device would do something */
  if (pair->exists && !operation->request.overwrite) return 0;
  /* It may be something else by now. */
  int from = openat(pair->from, pair->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (from < 0) return errno;
  struct stat stat;
  int error = 0;
  if (fstat(from, &stat) != 0) error = errno;
  else if (!S_ISREG(stat.st_mode)) error = EINVAL;
  else if (pair->exists && unlinkat(pair->to, pair->target, 0) != 0) error = errno;
  else error = copy_content(operation, pair, from);
  close(from);
  return error;
}

static int read_link(int directory, const char *name, char **target) {
  char buffer[PATH_MAX];
  ssize_t length = readlinkat(directory, name, buffer, sizeof buffer - 1);
  if (length < 0) return errno;
  *target = text("%.*s", (int)length, buffer);
  return 0;
}

/* What a link leads to, from the directory it is in. */
static char *aim_of(const char *top, const char *below, const char *target) {
  if (target[0] == '/') return text("%s", target);
  char *directory = path_resolve(top, below);
  char *aim = path_resolve(directory, target);
  free(directory);
  return aim;
}

static int copy_link(struct copying *copying, const struct pair *pair, const char *source_directory,
                     const char *target_directory) {
  char *target = NULL;
  char *aim = NULL;
  char *old = NULL;
  int error = read_link(pair->from, pair->name, &target);
  if (error == 0) aim = aim_of(source_directory, copying->from.depth > 0 ? copying->from.path : "", target);
  if (error == 0 && pair->exists) {
    char *old_target = NULL;
    error = S_ISLNK(pair->old.st_mode) ? read_link(pair->to, pair->target, &old_target) : EEXIST;
    struct stat stat;
    if (error == 0 && fstatat(pair->from, pair->name, &stat, 0) != 0) error = errno;
    if (error == 0) {
      old = aim_of(target_directory, copying->to.depth > 0 ? copying->to.path : "", old_target);
      char *one = path_resolve("/", aim);
      char *other = path_resolve("/", old);
      if (S_ISDIR(stat.st_mode) && (path_within(one, other) || path_within(other, one))) error = EINVAL;
      free(one);
      free(other);
    }
    if (error == 0 && unlinkat(pair->to, pair->target, 0) != 0) error = errno;
    free(old_target);
  }
  if (error == 0 && symlinkat(aim, pair->to, pair->target) != 0) {
    error = errno;
    copying->operation->stage = STAGE_SECOND_PATH;
  }
  free(target);
  free(aim);
  free(old);
  return error;
}

/* Makes the target of a directory, unless it is there. */
static int make_target(struct operation *operation, const struct pair *pair) {
  if (pair->exists || mkdirat(pair->to, pair->target, made(operation, 0777)) == 0) return 0;
  operation->stage = STAGE_SECOND_PATH;
  return errno;
}

static void remember(struct walk *to, const struct pair *pair) {
  walk_level(to)->keep = !pair->exists;
  walk_level(to)->mode = pair->source.st_mode & 07777;
}

static int copy_directory(struct copying *copying, const struct pair *pair) {
  int error = make_target(copying->operation, pair);
  if (error == 0) error = walk_enter(&copying->from, pair->name, false);
  if (error == 0) error = walk_enter(&copying->to, pair->name, false);
  if (error == 0) remember(&copying->to, pair);
  return error;
}

/* A new directory gets its mode when everything is in it, since that may keep its owner from writing. */
static int leave(struct copying *copying) {
  char *left;
  int error = walk_leave(&copying->from, &left);
  if (error != 0) return error;
  free(left);
  bool is_new = walk_level(&copying->to)->keep;
  mode_t mode = walk_level(&copying->to)->mode;
  error = walk_leave(&copying->to, &left);
  if (error != 0) return error;
  if (is_new && fchmodat(walk_level(&copying->to)->fd, left, shared(copying->operation, mode), 0) != 0) error = errno;
  free(left);
  return error;
}

static int copy_below(struct copying *copying) {
  struct operation *operation = copying->operation;
  for (;;) {
    if (is_cancelled(operation)) return ECANCELED;
    const char *name;
    uint8_t type;
    int found = walk_next(&copying->from, &name, &type);
    if (found < 0) return -found;
    if (found == 0 && copying->from.depth == 1) return 0;
    int error;
    if (found == 0) {
      error = leave(copying);
    } else {
      struct pair pair = {.from = walk_level(&copying->from)->fd,
                          .to = walk_level(&copying->to)->fd,
                          .name = name,
                          .target = name};
      error = look(operation, &pair);
      if (error == 0 && S_ISDIR(pair.source.st_mode)) error = copy_directory(copying, &pair);
      else if (error == 0 && S_ISLNK(pair.source.st_mode))
        error = copy_link(copying, &pair, copying->source, copying->target);
      else if (error == 0) error = copy_file(operation, &pair);
    }
    if (error != 0) return error;
  }
}

static int copy_tree(struct copying *copying, const struct pair *pair) {
  int error = make_target(copying->operation, pair);
  if (error != 0) return error;
  int from = open(pair->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (from < 0) return errno;
  error = walk_begin(&copying->from, from);
  if (error == 0) {
    int to = open(pair->target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    error = to < 0 ? errno : walk_begin_path(&copying->to, to);
    if (error == 0) error = copy_below(copying);
    if (error == 0 && !pair->exists && chmod(pair->target, shared(copying->operation, pair->source.st_mode & 07777)) != 0) error = errno;
    walk_end(&copying->to);
  }
  walk_end(&copying->from);
  return error;
}

/* Whether a directory is the source or in it, whatever links the path leads through: else a copy would have no end. */
static int look_upwards(const char *path, const struct stat *source) {
  int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct stat last = {0};
  for (bool first = true;; first = false) {
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0) break;
    bool is_source = stat.st_dev == source->st_dev && stat.st_ino == source->st_ino;
    bool is_root = !first && stat.st_dev == last.st_dev && stat.st_ino == last.st_ino;
    int next = is_source || is_root ? -1 : openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    close(fd);
    if (is_source) return EINVAL;
    if (is_root) return 0;
    last = stat;
    fd = next;
  }
  /* Where one may not look there is nothing that one may copy. */
  return fd < 0 && errno == EACCES ? 0 : errno;
}

/* Whether the target is somewhere in the source, by whatever path; and makes the directory it goes to. */
static int approach(struct copying *copying, const struct pair *pair) {
  struct operation *operation = copying->operation;
  operation->stage = STAGE_SECOND_PATH;
  if (S_ISDIR(pair->source.st_mode) && path_within(copying->source, copying->target)) return EINVAL;
  char *source_parent = path_directory(copying->source);
  char *above = path_directory(copying->target);
  int error = 0;
  while (error == 0 && strcmp(above, source_parent) != 0 && strcmp(above, "/") != 0) {
    struct stat stat;
    if (fstatat(AT_FDCWD, above, &stat, 0) != 0) {
      if (errno == ENOENT) break;
      error = errno;
    } else if (stat.st_dev == pair->source.st_dev && stat.st_ino == pair->source.st_ino) {
      error = EINVAL;
    }
    char *next = path_directory(above);
    free(above);
    above = next;
  }
  free(above);
  free(source_parent);
  if (error != 0) return error;
  char *parent = path_directory(pair->target);
  struct stat stat;
  if (fstatat(AT_FDCWD, parent, &stat, 0) != 0) {
    error = errno == ENOENT ? make_directories(operation, parent, 0777) : errno;
  }
  if (error == 0 && S_ISDIR(pair->source.st_mode)) error = look_upwards(parent, &pair->source);
  free(parent);
  if (error == 0) operation->stage = STAGE_OPERATION;
  return error;
}

int operation_copy(struct operation *operation) {
  const char *path = operation->request.path;
  char *to = path_absolute(operation->request.second);
  struct copying copying = {
      .operation = operation,
      .source = path_resolve("/", path),
      .target = path_resolve("/", to),
  };
  struct pair pair = {.from = AT_FDCWD, .to = AT_FDCWD, .name = path, .target = to};
  int error = look(operation, &pair);
  if (error == 0) error = approach(&copying, &pair);
  if (error == 0) {
    if (S_ISDIR(pair.source.st_mode)) {
      error = copy_tree(&copying, &pair);
    } else if (S_ISLNK(pair.source.st_mode)) {
      char *source_directory = path_directory(copying.source);
      char *target_directory = path_directory(copying.target);
      error = copy_link(&copying, &pair, source_directory, target_directory);
      free(source_directory);
      free(target_directory);
    } else {
      error = copy_file(operation, &pair);
    }
  }
  free(copying.source);
  free(copying.target);
  free(to);
  return error;
}
