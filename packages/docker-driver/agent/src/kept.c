/*
 * What a session can change beside the places when it runs as root, and the next one would see: the files in /etc that the
 * engine mounts, and /dev, which is a file system of its own. Both are remembered at the start, and put back at a reset.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

enum { LARGEST = 64 * 1024 };

struct file {
  const char *name; /* in /etc */
  bool known, attributes;
  uid_t uid;
  gid_t gid;
  mode_t mode;
  size_t length;
  uint8_t *content;
};

static struct file files[] = {{.name = "hosts"}, {.name = "hostname"}, {.name = "resolv.conf"}};
enum { FILES = sizeof files / sizeof *files };

struct device {
  char *name;
  struct stat stat;
  char *target; /* of a link */
};

static struct device *devices;
static size_t device_count;

/* --- /etc ------------------------------------------------------------------------------------------------------------ */

/* What is mounted cannot be moved or removed by those inside: the name still leads to it. */
static int open_file(const char *name, int flags) {
  int directory = directory_open("/etc");
  if (directory < 0) return -1;
  struct stat around, stat;
  int fd = -1;
  if (fstat(directory, &around) == 0 && is_mount(directory, name, around.st_dev)) {
    fd = openat(directory, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  } else {
    errno = ENOENT;
  }
  int error = errno;
  close(directory);
  if (fd >= 0 && (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode))) {
    close(fd);
    fd = -1;
    error = EINVAL;
  }
  errno = error;
  return fd;
}

/* As much as is there, up to one byte more than is remembered of a file; NULL when it cannot be read. */
static uint8_t *read_content(int fd, size_t *length) {
  uint8_t *content = allocate(LARGEST + 1);
  *length = 0;
  while (*length <= LARGEST) {
    ssize_t count = pread(fd, content + *length, LARGEST + 1 - *length, (off_t)*length);
    if (count == 0) return content;
    if (count < 0 && errno != EINTR) break;
    if (count > 0) *length += (size_t)count;
  }
  if (*length > LARGEST) return content;
  free(content);
  return NULL;
}

static void remember_file(struct file *file) {
  int fd = open_file(file->name, O_RDONLY);
  if (fd < 0) return;
  struct stat stat;
  size_t length;
  uint8_t *content = read_content(fd, &length);
  if (content != NULL && length <= LARGEST && fstat(fd, &stat) == 0) {
    *file = (struct file){.name = file->name, .known = true, .attributes = has_attributes(fd), .uid = stat.st_uid,
                          .gid = stat.st_gid, .mode = stat.st_mode & 07777, .length = length};
    file->content = resize_array(content, length + 1, 1);
    content = NULL;
  }
  free(content);
  close(fd);
}

static int write_back(const struct file *file) {
  int fd = open_file(file->name, O_WRONLY);
  if (fd < 0) return errno;
  int error = ftruncate(fd, 0) == 0 ? 0 : errno;
  for (size_t at = 0; error == 0 && at < file->length;) {
    ssize_t count = pwrite(fd, file->content + at, file->length - at, (off_t)at);
    if (count < 0 && errno != EINTR) error = errno;
    if (count > 0) at += (size_t)count;
  }
  close(fd);
  return error;
}

static int restore_file(const struct file *file) {
  int fd = open_file(file->name, O_RDONLY);
  if (fd < 0) return errno;
  int error = 0;
  size_t length;
  uint8_t *content = read_content(fd, &length);
  bool is_same = content != NULL && length == file->length && memcmp(content, file->content, length) == 0;
  free(content);
  if (!is_same) error = write_back(file);
  struct stat stat;
  if (error == 0 && fstat(fd, &stat) != 0) error = errno;
  bool is_owner_same = error == 0 && stat.st_uid == file->uid && stat.st_gid == file->gid;
  if (error == 0 && !is_owner_same && fchown(fd, file->uid, file->gid) != 0) error = errno;
  bool is_mode_same = error == 0 && is_owner_same && (stat.st_mode & 07777) == file->mode;
  if (error == 0 && !is_mode_same && fchmod(fd, file->mode) != 0) error = errno;
  if (!file->attributes && has_attributes(fd)) remove_attributes(fd);
  close(fd);
  return error;
}

/* --- /dev ------------------------------------------------------------------------------------------------------------ */

static int open_devices(void) {
  if (!is_contained()) return -1;
  struct stat root;
  int fd = directory_open("/dev");
  if (fd < 0) return -1;
  if (stat("/", &root) == 0 && is_mount(fd, "", root.st_dev)) return fd;
  close(fd);
  return -1;
}

static char *link_target(int directory, const char *name) {
  char target[4097];
  ssize_t length = readlinkat(directory, name, target, sizeof target - 1);
  if (length < 0) return NULL;
  target[length] = 0;
  return text("%s", target);
}

static void remember_devices(void) {
  int fd = open_devices();
  if (fd < 0) return;
  struct walk walk;
  const char *name;
  uint8_t type;
  if (walk_begin(&walk, fd) == 0) {
    while (walk_next(&walk, &name, &type) > 0) {
      struct device device = {.name = text("%s", name), .target = link_target(walk_level(&walk)->fd, name)};
      if (fstatat(walk_level(&walk)->fd, name, &device.stat, AT_SYMLINK_NOFOLLOW) != 0) {
        free(device.name);
        free(device.target);
        continue;
      }
      devices = resize_array(devices, device_count + 1, sizeof *devices);
      devices[device_count++] = device;
    }
  }
  walk_end(&walk);
}

static struct device *find_device(const char *name) {
  for (size_t index = 0; index < device_count; index++) {
    if (strcmp(devices[index].name, name) == 0) return &devices[index];
  }
  return NULL;
}

static bool is_same_thing(const struct device *device, const struct stat *stat) {
  return ((device->stat.st_mode ^ stat->st_mode) & S_IFMT) == 0 && device->stat.st_rdev == stat->st_rdev;
}

static int remove_strange(int directory, const char *name) {
  if (unlinkat(directory, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return errno;
  int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno;
  struct emptying emptying = {.spare_mounts = true};
  tree_empty(fd, &emptying);
  if (emptying.error != 0) return emptying.error;
  return emptying.kept || unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

/* Without the right to make devices, one that is gone is gone: then the sandbox is not what it was. */
static int restore_device(int directory, const struct device *device) {
  int fd = openat(directory, device->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  struct stat stat;
  if (fd < 0 || fstat(fd, &stat) != 0 || !is_same_thing(device, &stat)) {
    if (fd >= 0) close(fd);
    if (device->target == NULL) return ENOENT;
    int error = fd >= 0 ? remove_strange(directory, device->name) : 0;
    return error != 0 || symlinkat(device->target, directory, device->name) == 0 ? error : errno;
  }
  int error = 0;
  bool is_owner_same = stat.st_uid == device->stat.st_uid && stat.st_gid == device->stat.st_gid;
  if (!is_owner_same) error = change_owner(fd, device->stat.st_uid, device->stat.st_gid, directory, device->name);
  bool is_mode_same = is_owner_same && stat.st_mode == device->stat.st_mode;
  if (error == 0 && device->target == NULL && !is_mode_same) error = change_mode(fd, device->stat.st_mode & 07777);
  close(fd);
  if (error != 0 || device->target == NULL) return error;
  char *target = link_target(directory, device->name);
  bool is_target_same = target != NULL && strcmp(target, device->target) == 0;
  free(target);
  if (is_target_same) return 0;
  if (unlinkat(directory, device->name, 0) != 0) return errno;
  return symlinkat(device->target, directory, device->name) == 0 ? 0 : errno;
}

static void restore_devices(struct left *left) {
  int fd = device_count == 0 ? -1 : open_devices();
  if (fd < 0) return;
  struct walk walk;
  const char *name;
  uint8_t type;
  int found = walk_begin(&walk, fd);
  if (found == 0) {
    int directory = walk_level(&walk)->fd;
    while ((found = walk_next(&walk, &name, &type)) > 0) {
      int error = find_device(name) == NULL ? remove_strange(directory, name) : 0;
      if (error != 0) left_add(left, "/dev", name, error);
    }
    for (size_t index = 0; index < device_count; index++) {
      int error = restore_device(directory, &devices[index]);
      if (error != 0) left_add(left, "/dev", devices[index].name, error);
    }
  }
  if (found != 0) left_add(left, "/dev", "", found < 0 ? -found : found);
  walk_end(&walk);
}

/* --- both ------------------------------------------------------------------------------------------------------------- */

void kept_remember(void) {
  for (size_t index = 0; index < FILES && is_contained(); index++) remember_file(&files[index]);
  remember_devices();
}

void kept_restore(struct left *left) {
  for (size_t index = 0; index < FILES; index++) {
    int error = files[index].known ? restore_file(&files[index]) : 0;
    if (error != 0) left_add(left, "/etc", files[index].name, error);
  }
  restore_devices(left);
}
