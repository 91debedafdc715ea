/* Paths as text. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

static char *join(const char *base, const char *path) {
  return text("%s%s%s", base, base[0] != 0 && base[strlen(base) - 1] == '/' ? "" : "/", path);
}

char *path_absolute(const char *path) {
  if (path[0] == 0 || path[0] == '/') return text("%s", path);
  return join(settings.workdir, path);
}

char *path_resolve(const char *base, const char *path) {
  char *whole = path[0] == '/' ? text("%s", path) : join(base, path);
  /* In place: what is written never overtakes what is read. */
  size_t length = 0;
  for (char *at = whole; *at != 0;) {
    while (*at == '/') at++;
    size_t size = strcspn(at, "/");
    if (size == 0 || (size == 1 && at[0] == '.')) {
      /* nothing */
    } else if (size == 2 && at[0] == '.' && at[1] == '.') {
      while (length > 0 && whole[--length] != '/') continue;
    } else {
      whole[length++] = '/';
      memmove(whole + length, at, size);
      length += size;
    }
    at += size;
  }
  if (length == 0) whole[length++] = '/';
  whole[length] = 0;
  return whole;
}

char *path_directory(const char *path) {
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/') end--;
  while (end > 0 && path[end - 1] != '/') end--;
  while (end > 1 && path[end - 1] == '/') end--;
  return end == 0 ? text(".") : text("%.*s", (int)end, path);
}

bool path_within(const char *above, const char *path) {
  size_t length = strlen(above);
  if (length == 1) return true;
  return strncmp(above, path, length) == 0 && (path[length] == 0 || path[length] == '/');
}

/*
 * As Node's `realpath`: `..` is taken away before links are looked at, in the path as well as in what links lead to.
 */
int path_real(struct operation *operation, const char *path, char **result) {
  enum { MOST_LINKS = 1000 };
  if (path[0] == 0) path = settings.workdir; /* the path that Node resolves */
  char *rest = path_resolve("/", path);
  char *real = text("%s", "");
  int error = 0;
  int links = 0;
  for (char *at = rest; error == 0;) {
    while (*at == '/') at++;
    if (*at == 0) break;
    size_t size = strcspn(at, "/");
    char *next = text("%s/%.*s", real, (int)size, at);
    at += size;
    struct stat stat;
    if (fstatat(AT_FDCWD, next, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
      error = errno;
    } else if (!S_ISLNK(stat.st_mode)) {
      free(real);
      real = next;
      continue;
    } else if (fstatat(AT_FDCWD, next, &stat, 0) != 0) {
      error = errno; /* also where links lead in a circle */
    } else {
      char target[PATH_MAX];
      ssize_t length = readlink(next, target, sizeof target - 1);
      if (length < 0) error = errno;
      else if (++links > MOST_LINKS) error = ELOOP;
      else if (is_cancelled(operation)) error = ECANCELED;
      if (error == 0) {
        target[length] = 0;
        char *aim = path_resolve(real[0] == 0 ? "/" : real, target);
        char *following = text("%s%s", aim, at);
        char *resolved = path_resolve("/", following);
        free(aim);
        free(following);
        free(rest);
        rest = resolved;
        at = rest;
        real[0] = 0;
      }
    }
    free(next);
  }
  free(rest);
  if (error != 0) {
    free(real);
    return error;
  }
  *result = real[0] == 0 ? text("/") : text("%s", real);
  free(real);
  return 0;
}

/* As Node's recursive `mkdir`: goes up to what is there, and down again. */
int make_directories(struct operation *operation, const char *path, mode_t mode) {
  enum { MOST_ROUNDS = 100000 };
  size_t whole = strlen(path);
  if (whole >= PATH_MAX) return ENAMETOOLONG;
  /* Where the paths end that are still to be made: the whole one first, the next one last. */
  uint16_t ends[PATH_MAX / 2 + 2];
  size_t pending = 0;
  ends[pending++] = (uint16_t)whole;
  for (int round = 0; pending > 0; round++) {
    if (is_cancelled(operation)) return ECANCELED;
    if (round == MOST_ROUNDS) return ENOENT; /* somebody keeps removing it */
    size_t end = ends[--pending];
    char next[PATH_MAX];
    memcpy(next, path, end);
    next[end] = 0;
    if (mkdir(next, made(operation, mode)) == 0) continue;
    int error = errno;
    if (error == ENOENT) {
      size_t above = end;
      while (above > 0 && next[above - 1] != '/') above--;
      if (above <= 1) return ENOENT;
      ends[pending++] = (uint16_t)end;
      ends[pending++] = (uint16_t)(above - 1);
      if (pending >= sizeof ends / sizeof *ends - 1) return ENOENT;
      continue;
    }
    if (error != EEXIST && error != EISDIR && error != ELOOP && error != ENAMETOOLONG) return error;
    struct stat stat;
    int missing = fstatat(AT_FDCWD, next, &stat, 0) == 0 ? 0 : errno;
    if (missing == 0 && S_ISDIR(stat.st_mode)) continue;
    if (error == EEXIST && pending > 0) return ENOTDIR;
    return missing == 0 ? EEXIST : missing;
  }
  return 0;
}
