/* Removes and lists trees, of any depth and also while others change them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

/* --- removing ------------------------------------------------------------------------------------------------------- */

static void note(struct emptying *emptying, int error) {
  if (emptying->error == 0) emptying->error = error;
}

static bool stops(struct emptying *emptying) {
  if (emptying->operation == NULL) {
    workers_tick();
    return false;
  }
  if (!is_cancelled(emptying->operation)) return false;
  emptying->error = ECANCELED;
  return true;
}

/* Whether something is mounted there. Without an answer of the kernel: whether it is another file system. */
bool is_mount(int directory, const char *name, dev_t around) {
  struct info info;
  if (info_get(directory, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, &info) != 0) return false;
  return info.mount_known ? info.mount_root : info.stat.st_dev != around;
}

/* Whether a directory could not be removed because of what is in it, or what is in it can be removed all the same. */
static bool keeps_others(int error) { return error == ENOTEMPTY || error == EEXIST || error == EPERM; }

static void remove_other(struct walk *walk, struct emptying *emptying, const char *name) {
  struct level *level = walk_level(walk);
  if (unlinkat(level->fd, name, 0) == 0 || errno == ENOENT) return;
  int error = errno;
  if (error == EBUSY && emptying->spare_mounts && is_mount(level->fd, name, level->dev)) level->keep = true;
  else note(emptying, error);
}

/* Removes a directory, or goes into it when that has to be emptied first. */
static void remove_directory(struct walk *walk, struct emptying *emptying, const char *name) {
  struct level *level = walk_level(walk);
  dev_t around = level->dev;
  if (unlinkat(level->fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return;
  if (errno == ENOTDIR) {
    remove_other(walk, emptying, name);
    return;
  }
  if (!keeps_others(errno) && !(errno == EBUSY && emptying->spare_mounts)) {
    note(emptying, errno);
    return;
  }
  int error = walk_enter(walk, name, false);
  if (error == ENOTDIR || error == ELOOP) remove_other(walk, emptying, name);
  else if (error != 0 && error != ENOENT) note(emptying, error);
  if (error != 0 || !emptying->spare_mounts || !is_mount(walk_level(walk)->fd, "", around)) return;
  char *left;
  error = walk_leave(walk, &left);
  if (error == 0) free(left);
  else note(emptying, error);
  walk_level(walk)->keep = true;
}

void tree_empty(int fd, struct emptying *emptying) {
  struct walk walk;
  int error = walk_begin(&walk, fd);
  if (error != 0) note(emptying, error);
  while (error == 0 && !stops(emptying)) {
    const char *name;
    uint8_t type;
    int found = walk_next(&walk, &name, &type);
    if (found < 0) note(emptying, -found);
    if (found > 0) {
      if (type == DT_DIR) remove_directory(&walk, emptying, name);
      else remove_other(&walk, emptying, name);
      continue;
    }
    if (walk.depth == 1) {
      emptying->kept = walk_level(&walk)->keep;
      break;
    }
    bool keep = walk_level(&walk)->keep;
    char *left;
    error = walk_leave(&walk, &left);
    if (error != 0) {
      note(emptying, error);
      break;
    }
    struct level *level = walk_level(&walk);
    if (keep) level->keep = true;
    else if (unlinkat(level->fd, left, AT_REMOVEDIR) != 0 && errno != ENOENT) note(emptying, errno);
    free(left);
  }
  walk_end(&walk);
}

int operation_remove(struct operation *operation) {
  const struct file_request *request = &operation->request;
  const char *path = request->path;
  struct stat stat;
  if (fstatat(AT_FDCWD, path, &stat, AT_SYMLINK_NOFOLLOW) != 0) return request->force && errno == ENOENT ? 0 : errno;
  if (!S_ISDIR(stat.st_mode)) {
    if (unlink(path) == 0) return 0;
    return request->force && errno == ENOENT ? 0 : errno;
  }
  if (!request->recursive) return EISDIR;
  if (rmdir(path) == 0) return 0;
  /* A link with a slash behind it: Node leaves both the link and the directory. */
  if (errno == ENOTDIR) return 0;
  if (errno != ENOTEMPTY && errno != EEXIST && errno != EPERM) return errno;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno;
  struct emptying emptying = {.operation = operation};
  tree_empty(fd, &emptying);
  if (emptying.error != 0) return emptying.error;
  /* The path may have led through what was in it, as `a/..` does. */
  return rmdir(path) == 0 || errno == ENOENT ? 0 : errno;
}

/* --- listing --------------------------------------------------------------------------------------------------------- */

enum { MOST_LINKS = 40, BATCH = FRAME_DATA_MAX };

struct listing {
  struct operation *operation;
  struct walk walk;
  uint8_t *batch;
  size_t used;
  int links; /* that were followed on the way to where it is */
};

static int flush(struct listing *listing) {
  size_t length = listing->used;
  listing->used = 0;
  return length == 0 ? 0 : stream_send(listing->operation, listing->batch, length);
}

static int put(struct listing *listing, const void *bytes, size_t length) {
  for (const uint8_t *at = bytes; length > 0;) {
    size_t size = BATCH - listing->used < length ? BATCH - listing->used : length;
    memcpy(listing->batch + listing->used, at, size);
    listing->used += size;
    at += size;
    length -= size;
    int error = listing->used == BATCH ? flush(listing) : 0;
    if (error != 0) return error;
  }
  return 0;
}

static uint8_t type_in_list(uint8_t type) {
  switch (type) {
    case DT_DIR: return TYPE_DIRECTORY;
    case DT_LNK: return TYPE_LINK;
    case DT_BLK: return TYPE_BLOCK;
    case DT_CHR: return TYPE_CHARACTER;
    case DT_FIFO: return TYPE_FIFO;
    case DT_SOCK: return TYPE_SOCKET;
    default: return TYPE_FILE;
  }
}

static int put_entry(struct listing *listing, uint8_t type, const char *name) {
  size_t above = listing->walk.path_length;
  size_t length = above + strlen(name);
  uint8_t head[5] = {type_in_list(type), (uint8_t)length, (uint8_t)(length >> 8), (uint8_t)(length >> 16),
                     (uint8_t)(length >> 24)};
  int error = put(listing, head, sizeof head);
  if (error == 0) error = put(listing, listing->walk.path, above);
  return error == 0 ? put(listing, name, length - above) : error;
}

/* Whether a link leads to a directory that is not above it: those are listed too, as Node does. */
static bool leads_on(struct listing *listing, const char *name) {
  struct stat stat;
  if (listing->links == MOST_LINKS) return false;
  if (fstatat(walk_level(&listing->walk)->fd, name, &stat, 0) != 0 || !S_ISDIR(stat.st_mode)) return false;
  for (size_t index = 0; index < listing->walk.depth; index++) {
    const struct level *level = &listing->walk.levels[index];
    if (level->dev == stat.st_dev && level->ino == stat.st_ino) return false;
  }
  return true;
}

static int list_below(struct listing *listing, const char *name, bool linked) {
  int error = walk_enter(&listing->walk, name, linked);
  if (error == 0 && linked) listing->links++;
  /* Somebody was faster. */
  return error == ENOENT || error == ENOTDIR || error == ELOOP ? 0 : error;
}

static int list(struct listing *listing) {
  const struct file_request *request = &listing->operation->request;
  struct walk *walk = &listing->walk;
  for (;;) {
    if (is_cancelled(listing->operation)) return ECANCELED;
    const char *name;
    uint8_t type;
    int found = walk_next(walk, &name, &type);
    if (found < 0) return -found;
    if (found == 0) {
      if (walk->depth == 1) return flush(listing);
      if (walk_level(walk)->linked) listing->links--;
      char *left;
      int error = walk_leave(walk, &left);
      if (error != 0) return error;
      free(left);
      continue;
    }
    int error = put_entry(listing, type, name);
    if (error == 0 && request->recursive) {
      if (type == DT_DIR) error = list_below(listing, name, false);
      else if (type == DT_LNK && request->follow && leads_on(listing, name)) error = list_below(listing, name, true);
    }
    if (error != 0) return error;
  }
}

int operation_list(struct operation *operation) {
  int fd = open(operation->request.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  struct listing listing = {.operation = operation, .batch = allocate(BATCH)};
  int error = walk_begin(&listing.walk, fd);
  if (error == 0) error = list(&listing);
  walk_end(&listing.walk);
  free(listing.batch);
  return error;
}
