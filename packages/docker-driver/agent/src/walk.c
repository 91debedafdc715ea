/* Walks through trees that others change meanwhile: level by level, each a descriptor, never a path. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

enum { MOST_OPEN = 16, BUFFER = 32 * 1024 };

/* What the kernel's getdents64 writes. */
struct record {
  uint64_t ino;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
};

static const int reading = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
static const int passing = O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

static int push(struct walk *walk, int fd, const char *name) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) {
    int error = errno;
    close(fd);
    return error;
  }
  if (walk->depth == walk->room) {
    walk->room = walk->room == 0 ? 16 : walk->room * 2;
    walk->levels = resize_array(walk->levels, walk->room, sizeof *walk->levels);
  }
  walk->levels[walk->depth++] = (struct level){
      .fd = fd,
      .dev = stat.st_dev,
      .ino = stat.st_ino,
      .name = name == NULL ? NULL : text("%s", name),
      .read = walk->flags == passing,
  };
  walk->open++;
  return 0;
}

static int begin(struct walk *walk, int fd, int flags) {
  *walk = (struct walk){.flags = flags};
  walk->path_room = 256;
  walk->path = allocate(walk->path_room);
  walk->path[0] = 0;
  if (flags == reading) walk->buffer = allocate(BUFFER);
  return push(walk, fd, NULL);
}

int walk_begin(struct walk *walk, int fd) { return begin(walk, fd, reading); }
int walk_begin_path(struct walk *walk, int fd) { return begin(walk, fd, passing); }

/* Reads some more names, after those that are there; 0 or errno. */
static int fill(struct walk *walk, struct level *level) {
  long count;
  do count = syscall(SYS_getdents64, level->fd, walk->buffer, BUFFER);
  while (count < 0 && errno == EINTR);
  if (count < 0) {
    int error = errno;
    level->read = true;
    return error == ENOENT ? 0 : error; /* the directory was removed */
  }
  if (count == 0) level->read = true;
  for (long at = 0; at < count;) {
    const struct record *record = (const void *)(walk->buffer + at);
    at += record->length;
    const char *name = record->name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    size_t size = strlen(name) + 1;
    if (level->used + size + 1 > level->room) {
      while (level->used + size + 1 > level->room) level->room = level->room == 0 ? 512 : level->room * 2;
      level->names = resize_array(level->names, level->room, 1);
    }
    level->names[level->used++] = (char)record->type;
    memcpy(level->names + level->used, name, size);
    level->used += size;
  }
  return 0;
}

static uint8_t type_at(int directory, const char *name) {
  struct stat stat;
  if (fstatat(directory, name, &stat, AT_SYMLINK_NOFOLLOW) != 0) return DT_REG; /* is gone; whoever acts on it sees it */
  return (uint8_t)IFTODT(stat.st_mode);
}

int walk_next(struct walk *walk, const char **name, uint8_t *type) {
  struct level *level = walk_level(walk);
  while (level->at == level->used) {
    if (level->read) return 0;
    level->at = level->used = 0;
    int error = fill(walk, level);
    if (error != 0) return -error;
  }
  uint8_t found = (uint8_t)level->names[level->at];
  *name = level->names + level->at + 1;
  level->at += strlen(*name) + 2;
  *type = found == DT_UNKNOWN ? type_at(level->fd, *name) : found;
  return 1;
}

/* Closes the descriptor of the highest level that can be opened again. */
static int park(struct walk *walk) {
  for (; walk->parked + 1 < walk->depth; walk->parked++) {
    struct level *level = &walk->levels[walk->parked];
    bool is_needed = walk->levels[walk->parked + 1].linked;
    if (level->fd < 0 || is_needed) continue;
    /* Drop what was visited, and read what is left: a place in a directory cannot be found again. */
    if (level->at > 0) {
      memmove(level->names, level->names + level->at, level->used - level->at);
      level->used -= level->at;
      level->at = 0;
    }
    while (!level->read) {
      int error = fill(walk, level);
      if (error != 0) return error;
    }
    close(level->fd);
    level->fd = -1;
    walk->open--;
    walk->parked++;
    return 0;
  }
  return 0;
}

static void extend_path(struct walk *walk, const char *name) {
  size_t length = strlen(name);
  size_t wanted = walk->path_length + length + 2;
  if (wanted > walk->path_room) {
    while (wanted > walk->path_room) walk->path_room *= 2;
    walk->path = resize_array(walk->path, walk->path_room, 1);
  }
  memcpy(walk->path + walk->path_length, name, length);
  walk->path_length += length;
  walk->path[walk->path_length++] = '/';
  walk->path[walk->path_length] = 0;
}

int walk_enter(struct walk *walk, const char *name, bool follow) {
  if (walk->open >= MOST_OPEN) {
    int error = park(walk);
    if (error != 0) return error;
  }
  int fd = openat(walk_level(walk)->fd, name, follow ? walk->flags & ~O_NOFOLLOW : walk->flags);
  if (fd < 0) return errno;
  int error = push(walk, fd, name);
  if (error != 0) return error;
  walk_level(walk)->linked = follow;
  extend_path(walk, name);
  return 0;
}

static void drop(struct walk *walk) {
  struct level *level = walk_level(walk);
  if (level->fd >= 0) {
    close(level->fd);
    walk->open--;
  }
  free(level->names);
  walk->depth--;
}

static int reopen(struct walk *walk, struct level *level, int below) {
  int fd = openat(below, "..", walk->flags);
  if (fd < 0) return errno;
  struct stat stat;
  int error = fstat(fd, &stat) != 0 ? errno : 0;
  /* Somebody has moved the lower directory elsewhere. */
  if (error == 0 && (stat.st_dev != level->dev || stat.st_ino != level->ino)) error = ESTALE;
  if (error != 0) {
    close(fd);
    return error;
  }
  level->fd = fd;
  walk->open++;
  return 0;
}

int walk_leave(struct walk *walk, char **left) {
  struct level *level = walk_level(walk);
  struct level *above = level - 1;
  if (above->fd < 0) {
    int error = reopen(walk, above, level->fd);
    if (error != 0) return error;
  }
  *left = level->name;
  walk->path_length -= strlen(level->name) + 1;
  walk->path[walk->path_length] = 0;
  drop(walk);
  if (walk->parked >= walk->depth) walk->parked = walk->depth - 1;
  return 0;
}

void walk_end(struct walk *walk) {
  while (walk->depth > 0) {
    free(walk_level(walk)->name);
    drop(walk);
  }
  free(walk->levels);
  free(walk->path);
  free(walk->buffer);
}
