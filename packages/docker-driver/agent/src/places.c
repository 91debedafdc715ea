/*
 * The places that sessions write to: prepared once, and at every reset emptied and made what they were.
 *
 * All of this is done as root on what untrusted processes have left behind, and some, which belong to the sandbox, still
 * run: directories are entered name by name without following links, nothing is opened for its content, and nothing that
 * is mounted inside a place is touched.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

struct place {
  char *path; /* without links */
  uid_t uid;
  gid_t gid;
  mode_t mode;
  bool attributes; /* it had extended attributes of its own */
};

static struct {
  struct place *places; /* those that hold others first */
  size_t count;
  struct seed *seeds; /* with paths without links */
  size_t seed_count;
  char *home;
  atomic_bool sandbox_acted;
} all;

bool places_in_home(const char *path) {
  if (all.home == NULL) return false;
  char *resolved = path_resolve(settings.workdir, path);
  char *home = path_resolve("/", settings.home);
  bool within = path_within(home, resolved) || path_within(all.home, resolved);
  free(home);
  free(resolved);
  return within;
}

void places_sandbox_acts(void) { atomic_store(&all.sandbox_acted, true); }

static char *problem(const char *what, const char *path, int error) {
  return text("cannot %s %s: %s", what, path, strerror(error));
}

/* --- directories by name --------------------------------------------------------------------------------------------- */

/* What is not there may be made, in place of what is no directory; for root or for the user. */
enum making { ONLY_OPEN, MAKE, MAKE_FOR_USER };

static int open_directory(int above, const char *name) {
  return openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int open_next(int above, const char *name, enum making making) {
  int fd = open_directory(above, name);
  if (fd >= 0 || making == ONLY_OPEN) return fd;
  if (errno == ENOTDIR || errno == ELOOP) {
    if (unlinkat(above, name, 0) != 0) return -1;
  } else if (errno != ENOENT) {
    return -1;
  }
  if (mkdirat(above, name, 0755) != 0 && errno != EEXIST) return -1;
  fd = open_directory(above, name);
  if (fd < 0 || making != MAKE_FOR_USER || fchown(fd, settings.uid, settings.gid) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

/* Opens a directory by an absolute path that leads through no link. */
static int open_path(const char *path, enum making making) {
  int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  char *rest = text("%s", path);
  char *end;
  for (char *name = strtok_r(rest, "/", &end); name != NULL && fd >= 0; name = strtok_r(NULL, "/", &end)) {
    int next = open_next(fd, name, making);
    int error = errno;
    close(fd);
    errno = error;
    fd = next;
  }
  free(rest);
  return fd;
}

int directory_open(const char *path) { return open_path(path, ONLY_OPEN); }

/* The same path without links; what is missing is made. */
static int make_real(const char *path, char **real) {
  char *resolved = path_resolve("/", path);
  for (char *end = resolved; end != NULL;) {
    end = strchr(end + 1, '/');
    if (end != NULL) *end = 0;
    if (mkdir(resolved, 0755) != 0 && errno != EEXIST && errno != EROFS && errno != EISDIR) {
      int error = errno;
      free(resolved);
      return error;
    }
    if (end != NULL) *end = '/';
  }
  char *found = realpath(resolved, NULL);
  int error = found == NULL ? errno : 0;
  free(resolved);
  *real = found;
  return error;
}

static bool is_empty(int fd) {
  struct walk walk;
  int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return false;
  const char *name;
  uint8_t type;
  bool empty = walk_begin(&walk, copy) == 0 && walk_next(&walk, &name, &type) == 0;
  walk_end(&walk);
  return empty;
}

/* --- seeds ------------------------------------------------------------------------------------------------------------------ */

/* All relative to the two directories that the walks are in. */
static int seed_file(struct walk *from, struct walk *to, const char *name, const struct stat *stat) {
  int source = openat(walk_level(from)->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (source < 0) return errno == ENOENT || errno == ELOOP ? 0 : errno;
  const int fresh = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  int directory = walk_level(to)->fd;
  int target = openat(directory, name, fresh, 0600);
  if (target < 0 && errno == EEXIST && unlinkat(directory, name, 0) == 0) target = openat(directory, name, fresh, 0600);
  int error = target < 0 ? errno : copy_data(NULL, source, target);
  struct timespec times[2] = {stat->st_atim, stat->st_mtim};
  if (error == 0 && fchown(target, settings.uid, settings.gid) != 0) error = errno;
  if (error == 0 && fchmod(target, stat->st_mode & 07777) != 0) error = errno;
  if (error == 0 && futimens(target, times) != 0) error = errno;
  if (target >= 0) close(target);
  close(source);
  return error;
}

static int seed_link(struct walk *from, struct walk *to, const char *name, const struct stat *stat) {
  char target[PATH_MAX];
  ssize_t length = readlinkat(walk_level(from)->fd, name, target, sizeof target - 1);
  if (length < 0) return errno;
  target[length] = 0;
  int directory = walk_level(to)->fd;
  int error = symlinkat(target, directory, name) == 0 ? 0 : errno;
  if (error == EEXIST && unlinkat(directory, name, 0) == 0) error = symlinkat(target, directory, name) == 0 ? 0 : errno;
  if (error != 0) return error;
  if (fchownat(directory, name, settings.uid, settings.gid, AT_SYMLINK_NOFOLLOW) != 0) return errno;
  struct timespec times[2] = {stat->st_atim, stat->st_mtim};
  return utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

static int seed_directory(struct walk *from, struct walk *to, const char *name) {
  if (mkdirat(walk_level(to)->fd, name, 0700) != 0 && errno != EEXIST) return errno;
  int error = walk_enter(from, name, false);
  return error == 0 ? walk_enter(to, name, false) : error;
}

/* A directory gets its owner, mode and times when everything is in it. */
static int finish_directory(struct walk *from, struct walk *to) {
  struct stat stat;
  int fd = walk_level(to)->fd;
  if (fstat(walk_level(from)->fd, &stat) != 0) return errno;
  struct timespec times[2] = {stat.st_atim, stat.st_mtim};
  if (fchown(fd, settings.uid, settings.gid) != 0 || fchmod(fd, stat.st_mode & 07777) != 0) return errno;
  return futimens(fd, times) == 0 ? 0 : errno;
}

static int leave_both(struct walk *from, struct walk *to) {
  char *left;
  int error = walk_leave(from, &left);
  if (error == 0) free(left);
  if (error == 0) error = walk_leave(to, &left);
  if (error == 0) free(left);
  return error;
}

static int seed_below(struct walk *from, struct walk *to) {
  for (;;) {
    const char *name;
    uint8_t type;
    int found = walk_next(from, &name, &type);
    if (found < 0) return -found;
    if (found == 0 && from->depth == 1) return 0;
    int error = 0;
    if (found == 0) {
      error = finish_directory(from, to);
      if (error == 0) error = leave_both(from, to);
    } else {
      struct stat stat;
      if (fstatat(walk_level(from)->fd, name, &stat, AT_SYMLINK_NOFOLLOW) != 0) error = errno;
      else if (S_ISDIR(stat.st_mode)) error = seed_directory(from, to, name);
      else if (S_ISLNK(stat.st_mode)) error = seed_link(from, to, name, &stat);
      else if (S_ISREG(stat.st_mode)) error = seed_file(from, to, name, &stat);
    }
    if (error != 0) return error;
  }
}

/* What is copied goes into a directory that is made, or that a place is. */
static char *copy_seed(const struct seed *seed) {
  int from = directory_open(seed->from);
  if (from < 0) return problem("copy", seed->from, errno);
  int to = open_path(seed->to, MAKE_FOR_USER);
  if (to < 0) {
    char *answer = problem("make", seed->to, errno);
    close(from);
    return answer;
  }
  struct walk source, target;
  int begun = walk_begin(&source, from);
  int error = walk_begin(&target, to);
  if (error == 0) error = begun;
  if (error == 0) error = seed_below(&source, &target);
  char *answer = error == 0 ? NULL : text("cannot copy %s to %s: %s", seed->from, seed->to, strerror(error));
  walk_end(&source);
  walk_end(&target);
  return answer;
}

static char *copy_seeds(void) {
  char *answer = NULL;
  for (size_t index = 0; index < all.seed_count && answer == NULL; index++) answer = copy_seed(&all.seeds[index]);
  return answer;
}

/* --- preparation --------------------------------------------------------------------------------------------------------------- */

static bool is_known(const char *path) {
  for (size_t index = 0; index < all.count; index++) {
    if (strcmp(all.places[index].path, path) == 0) return true;
  }
  return false;
}

bool has_attributes(int fd) { return flistxattr(fd, NULL, 0) > 0; }

/* Gives a place to the user if it is nobody's, and remembers what it is like. */
static char *prepare_place(const char *given) {
  char *path = NULL;
  int error = make_real(given, &path);
  if (error != 0) return problem("make", given, error);
  if (is_known(path) || strcmp(path, "/") == 0) {
    free(path);
    return NULL;
  }
  int fd = directory_open(path);
  struct stat stat;
  if (fd < 0 || fstat(fd, &stat) != 0) error = errno;
  bool is_nobodys = error == 0 && stat.st_uid == 0 && (stat.st_mode & S_ISVTX) == 0 && settings.uid != 0;
  if (is_nobodys && is_empty(fd) && fchown(fd, settings.uid, settings.gid) != 0) error = errno;
  if (error == 0 && fstat(fd, &stat) != 0) error = errno;
  bool attributes = error == 0 && has_attributes(fd);
  if (fd >= 0) close(fd);
  if (error != 0) {
    free(path);
    return problem("prepare", given, error);
  }
  all.places = resize_array(all.places, all.count + 1, sizeof *all.places);
  all.places[all.count++] = (struct place){
      .path = path, .uid = stat.st_uid, .gid = stat.st_gid, .mode = stat.st_mode & 07777, .attributes = attributes};
  return NULL;
}

static int by_length(const void *one, const void *other) {
  size_t a = strlen(((const struct place *)one)->path);
  size_t b = strlen(((const struct place *)other)->path);
  return (a > b) - (a < b);
}

static char *prepare_home(void) {
  if (settings.home == NULL) return NULL;
  int error = make_real(settings.home, &all.home);
  if (error != 0) return problem("make", settings.home, error);
  int fd = directory_open(all.home);
  if (fd < 0 || fchown(fd, HOME_OWNER, SANDBOX_GROUP) != 0 || fchmod(fd, 02775) != 0) error = errno;
  if (fd >= 0) close(fd);
  return error == 0 ? NULL : problem("prepare", settings.home, error);
}

static char *prepare_seed(const struct seed *given) {
  char *from = realpath(given->from, NULL);
  if (from == NULL) return problem("copy", given->from, errno);
  /* The target may be missing, below a place; of what is there, links are resolved. */
  char *resolved = path_resolve("/", given->to);
  char *there = text("%s", resolved);
  char *real;
  while ((real = realpath(there, NULL)) == NULL && strcmp(there, "/") != 0) {
    char *above = path_directory(there);
    free(there);
    there = above;
  }
  const char *rest = strcmp(there, "/") == 0 ? resolved : resolved + strlen(there);
  char *whole = text("%s%s", real == NULL ? "" : real, rest);
  char *to = path_resolve("/", whole);
  free(whole);
  free(real);
  free(there);
  free(resolved);
  all.seeds = resize_array(all.seeds, all.seed_count + 1, sizeof *all.seeds);
  all.seeds[all.seed_count++] = (struct seed){from, to};
  return NULL;
}

bool is_contained(void) {
  const ino_t first = 0xefffffff; /* the IPC namespace that the machine starts with: the kernel's PROC_IPC_INIT_INO */
  struct stat stat;
  return getpid() == 1 && fstatat(AT_FDCWD, "/proc/self/ns/ipc", &stat, 0) == 0 && stat.st_ino != first;
}

/* In a container these belong to it alone; they are emptied whether or not they are named. */
static void add_shared_memory(void) {
  static const char *const paths[] = {"/dev/shm", "/dev/mqueue"};
  if (!is_contained()) return;
  for (size_t index = 0; index < 2; index++) {
    struct stat stat;
    int fd = directory_open(paths[index]);
    if (fd < 0) continue;
    if (!is_known(paths[index]) && fstat(fd, &stat) == 0 && faccessat(fd, ".", W_OK, AT_EACCESS) == 0) {
      all.places = resize_array(all.places, all.count + 1, sizeof *all.places);
      all.places[all.count++] = (struct place){.path = text("%s", paths[index]),
                                               .uid = stat.st_uid,
                                               .gid = stat.st_gid,
                                               .mode = stat.st_mode & 07777,
                                               .attributes = true};
    }
    close(fd);
  }
}

char *places_prepare(void) {
  char *answer = prepare_place(settings.workdir);
  for (size_t index = 0; index < settings.writable_count && answer == NULL; index++) {
    answer = prepare_place(settings.writable[index]);
  }
  if (answer == NULL) answer = prepare_home();
  for (size_t index = 0; index < settings.seed_count && answer == NULL; index++) {
    answer = prepare_seed(&settings.seeds[index]);
  }
  if (answer != NULL) return answer;
  add_shared_memory();
  kept_remember();
  if (all.count > 0) qsort(all.places, all.count, sizeof *all.places, by_length);
  return copy_seeds();
}

/* --- emptying ---------------------------------------------------------------------------------------------------------------------- */

enum { NAMES_TOLD = 5, PASSES = 3 };

void left_add(struct left *left, const char *path, const char *name, int error) {
  if (left->count++ >= NAMES_TOLD) return;
  char *before = left->names;
  left->names = text("%s%s%s%s%s%s%s%s", before == NULL ? "" : before, before == NULL ? "" : ", ", path,
                     name[0] == 0 ? "" : "/", name, error == 0 ? "" : " (", error == 0 ? "" : strerror(error),
                     error == 0 ? "" : ")");
  free(before);
}

/* Sees whether anything is there but what is mounted, and the ways to it. */
static void look_again(struct left *left, const struct place *place, int fd, const struct emptying *emptying) {
  struct walk walk;
  int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) {
    left_add(left, place->path, "", errno);
    return;
  }
  const char *name;
  uint8_t type;
  int found = walk_begin(&walk, copy);
  if (found == 0) {
    while ((found = walk_next(&walk, &name, &type)) > 0) {
      if (!emptying->kept) left_add(left, place->path, name, emptying->error);
    }
  }
  if (found != 0) left_add(left, place->path, "", found < 0 ? -found : found);
  else if (emptying->kept && emptying->error != 0) left_add(left, place->path, "", emptying->error);
  walk_end(&walk);
}

void remove_attributes(int fd) {
  enum { NAMES = 65536 };
  char *names = allocate(NAMES);
  ssize_t length = flistxattr(fd, names, NAMES);
  for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) {
    const char *name = names + at;
    if (strncmp(name, "user.", 5) == 0 || strncmp(name, "system.posix_acl_", 17) == 0) fremovexattr(fd, name);
  }
  free(names);
}

static void empty_place(struct left *left, const struct place *place) {
  int fd = open_path(place->path, MAKE);
  if (fd < 0) {
    left_add(left, place->path, "", errno);
    return;
  }
  struct emptying emptying = {0};
  for (int pass = 0; pass < PASSES; pass++) {
    emptying = (struct emptying){.spare_mounts = true};
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) emptying.error = errno;
    else tree_empty(copy, &emptying);
    if (emptying.error == 0) break;
  }
  look_again(left, place, fd, &emptying);
  if (!place->attributes && has_attributes(fd)) remove_attributes(fd);
  struct stat stat = {0};
  bool is_same = fstat(fd, &stat) == 0 && stat.st_uid == place->uid && stat.st_gid == place->gid;
  if (!is_same && fchown(fd, place->uid, place->gid) != 0) left_add(left, place->path, "", errno);
  if ((stat.st_mode & 07777) != place->mode && fchmod(fd, place->mode) != 0) left_add(left, place->path, "", errno);
  close(fd);
}

/* --- System V objects ------------------------------------------------------------------------------------------------------------------ */


static void remove_object(int kind, int number, uid_t owner) {
  /* Only the owner may: for a moment this thread, and no other, is the owner. */
  if (syscall(SYS_setresuid, -1, owner, -1) != 0) return;
  if (kind == 0) shmctl(number, IPC_RMID, NULL);
  else if (kind == 1) semctl(number, 0, IPC_RMID);
  else msgctl(number, IPC_RMID, NULL);
  if (syscall(SYS_setresuid, -1, 0, -1) != 0) die("cannot go back to root");
}

/* Removes all: the agent has none. Memory that somebody still has attached belongs to what the sandbox runs. */
static size_t each_object(int kind, bool removes) {
  static const char *const paths[] = {"/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"};
  FILE *file = fopen(paths[kind], "re");
  if (file == NULL) return 0;
  char line[512];
  size_t count = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    int number;
    unsigned uid, attached = 0;
    int read;
    if (kind == 0) read = sscanf(line, "%*d %d %*o %*u %*u %*u %u %u", &number, &attached, &uid) - 1;
    else if (kind == 1) read = sscanf(line, "%*d %d %*o %*u %u", &number, &uid);
    else read = sscanf(line, "%*d %d %*o %*u %*u %*u %*u %u", &number, &uid);
    if (read != 2 || attached != 0) continue;
    count++;
    if (removes) remove_object(kind, number, uid);
  }
  fclose(file);
  return count;
}

static void remove_objects(struct left *left) {
  if (!is_contained()) return;
  static const char *const names[] = {"shared memory", "semaphores", "message queues"};
  for (int kind = 0; kind < 3; kind++) {
    if (each_object(kind, true) > 0 && each_object(kind, false) > 0) left_add(left, names[kind], "", 0);
  }
}

/* --- home ---------------------------------------------------------------------------------------------------------------------------------- */

int change_mode(int fd, mode_t mode) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return chmod(path, mode) == 0 ? 0 : errno;
}

int change_owner(int fd, uid_t uid, gid_t gid, int directory, const char *name) {
  if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0) return 0;
  if (errno != EBADF) return errno;
  /* gVisor changes nothing by such a descriptor itself. */
  struct stat stat;
  if (fstat(fd, &stat) != 0) return errno;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int changed = S_ISLNK(stat.st_mode) ? fchownat(directory, name, uid, gid, AT_SYMLINK_NOFOLLOW) : chown(path, uid, gid);
  return changed == 0 ? 0 : errno;
}

/* What the owner may do, the group of those who act for the sandbox may do afterwards. */
static mode_t shared_mode(const struct stat *stat) {
  mode_t mode = stat->st_mode & 0777;
  return S_ISDIR(stat->st_mode) ? 02775 : mode | (mode & 0700) >> 3;
}

static int take_over(int directory, const char *name) {
  int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? 0 : errno;
  struct stat stat;
  int error = fstat(fd, &stat) == 0 ? 0 : errno;
  /* A file of a third person that also has a name elsewhere is not taken away from there. */
  bool is_foreign = error == 0 && stat.st_uid != settings.uid && !S_ISDIR(stat.st_mode) && stat.st_nlink > 1;
  /* What the image has there is root's, unless sessions are root. */
  bool is_kept = stat.st_uid == HOME_OWNER || (stat.st_uid == 0 && settings.uid != 0);
  if (error == 0 && !is_kept && !is_foreign) {
    error = change_owner(fd, HOME_OWNER, SANDBOX_GROUP, directory, name);
    if (error == 0 && !S_ISLNK(stat.st_mode)) error = change_mode(fd, shared_mode(&stat));
  }
  close(fd);
  return error;
}

static int take_over_below(struct walk *walk) {
  for (;;) {
    workers_tick();
    const char *name;
    uint8_t type;
    int found = walk_next(walk, &name, &type);
    if (found < 0) return -found;
    int error = 0;
    if (found > 0) {
      error = take_over(walk_level(walk)->fd, name);
      if (error == 0 && type == DT_DIR) {
        error = walk_enter(walk, name, false);
        if (error == ENOENT || error == ENOTDIR || error == ELOOP) error = 0; /* gone meanwhile */
      }
    } else {
      if (walk->depth == 1) return 0;
      char *left;
      error = walk_leave(walk, &left);
      if (error == 0) free(left);
    }
    if (error != 0) return error;
  }
}

/* Gives what the sandbox's commands have made in `home` to its owner, so that sessions cannot change it. */
static char *restore_home(void) {
  if (all.home == NULL || !atomic_exchange(&all.sandbox_acted, false)) return NULL;
  int error = 0;
  for (int pass = 0; pass < PASSES; pass++) {
    int fd = directory_open(all.home);
    if (fd < 0) return problem("open", all.home, errno);
    error = 0;
    if (fchown(fd, HOME_OWNER, SANDBOX_GROUP) != 0 || fchmod(fd, 02775) != 0) error = errno;
    struct walk walk;
    int begun = walk_begin(&walk, fd);
    if (error == 0) error = begun == 0 ? take_over_below(&walk) : begun;
    walk_end(&walk);
    if (error == 0) return NULL;
  }
  places_sandbox_acts();
  return problem("restore", all.home, error);
}

/* --- reset ------------------------------------------------------------------------------------------------------------------------------------ */

struct reset {
  struct job job;
  void (*done)(char *problem, void *argument);
  void *argument;
};

static char *reset_places(void) {
  operations_abandon_sessions();
  handles_close_sessions();
  struct left left = {0};
  remove_objects(&left);
  for (size_t index = 0; index < all.count; index++) empty_place(&left, &all.places[index]);
  kept_restore(&left);
  if (left.count > 0) {
    size_t more = left.count > NAMES_TOLD ? left.count - NAMES_TOLD : 0;
    char *answer = more == 0 ? text("left after the reset: %s", left.names)
                             : text("left after the reset: %s, and %zu more", left.names, more);
    free(left.names);
    return answer;
  }
  char *answer = copy_seeds();
  return answer == NULL ? restore_home() : answer;
}

static void run(struct job *job) {
  struct reset reset = *(struct reset *)job;
  free(job);
  reset.done(reset_places(), reset.argument);
}

void places_reset(void (*done)(char *problem, void *argument), void *argument) {
  struct reset *reset = allocate(sizeof *reset);
  *reset = (struct reset){.job.run = run, .done = done, .argument = argument};
  workers_urgent(&reset->job);
}
