/*
 * Watches: what changes in a directory, below it, or of a file, by inotify, told as Node's `watch` tells it.
 *
 * All watches share one instance of inotify, since those are few on a machine, and one thread that reads it; both are there
 * while anybody watches. A directory that appears in a recursive watch is watched and then looked through, so that nothing
 * that was made in it before is missed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

enum { BUCKETS = 1024, BUFFER = 64 * 1024 };

static const uint32_t wanted = IN_ATTRIB | IN_CREATE | IN_MODIFY | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
                               IN_MOVED_FROM | IN_MOVED_TO;

/* One watched inode of one watch. Several watches can share the kernel's number of it. */
struct spot {
  struct spot *next_in_bucket;
  struct spot *next, **link; /* of the watch */
  struct watch *watch;
  int number;
  char *path; /* relative to the watched path; empty for that itself */
};

struct watch {
  struct watch *next, **link;
  uint64_t id;
  uint32_t channel;
  enum identity identity;
  bool recursive, ready;
  char *path;
  struct spot *spots;
};

static struct {
  pthread_mutex_t lock;
  int inotify, wake;
  uint64_t last_id;
  struct watch *watches;
  struct spot *buckets[BUCKETS];
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .inotify = -1, .wake = -1};

static char *below(const char *path, const char *name) {
  if (path[0] == 0) return text("%s", name);
  return name[0] == 0 ? text("%s", path) : text("%s/%s", path, name);
}

/* --- spots; with the lock held ------------------------------------------------------------------------------------------ */

static struct spot **bucket_of(int number) { return &all.buckets[(unsigned)number % BUCKETS]; }

static struct spot *next_of(struct spot *spot, int number) {
  while (spot != NULL && spot->number != number) spot = spot->next_in_bucket;
  return spot;
}

static void remove_spot(struct spot *spot, bool is_known) {
  struct spot **at = bucket_of(spot->number);
  while (*at != spot) at = &(*at)->next_in_bucket;
  *at = spot->next_in_bucket;
  if (is_known && next_of(*bucket_of(spot->number), spot->number) == NULL) inotify_rm_watch(all.inotify, spot->number);
  *spot->link = spot->next;
  if (spot->next != NULL) spot->next->link = spot->link;
  free(spot->path);
  free(spot);
}

static void remove_spots_below(struct watch *watch, const char *path) {
  size_t length = strlen(path);
  for (struct spot *spot = watch->spots, *next; spot != NULL; spot = next) {
    next = spot->next;
    bool is_below = strncmp(spot->path, path, length) == 0 && (spot->path[length] == 0 || spot->path[length] == '/');
    if (is_below) remove_spot(spot, true);
  }
}

static int add_spot(struct watch *watch, const char *path) {
  char *full = path[0] == 0 ? text("%s", watch->path) : below(watch->path, path);
  int number = inotify_add_watch(all.inotify, full, path[0] == 0 ? wanted : wanted | IN_ONLYDIR | IN_DONT_FOLLOW);
  free(full);
  if (number < 0) return errno;
  for (struct spot *spot = *bucket_of(number); (spot = next_of(spot, number)) != NULL; spot = spot->next_in_bucket) {
    if (spot->watch != watch) continue;
    /* It was moved within what is watched; or it was found twice. */
    if (spot->path[0] == 0) return 0;
    free(spot->path);
    spot->path = text("%s", path);
    return 0;
  }
  struct spot *spot = allocate(sizeof *spot);
  *spot = (struct spot){
      .next_in_bucket = *bucket_of(number),
      .next = watch->spots,
      .link = &watch->spots,
      .watch = watch,
      .number = number,
      .path = text("%s", path),
  };
  *bucket_of(number) = spot;
  if (watch->spots != NULL) watch->spots->link = &spot->next;
  watch->spots = spot;
  return 0;
}

/* --- events; with the lock held -------------------------------------------------------------------------------------------- */

static void tell(const struct watch *watch, uint8_t kind, const char *name) {
  if (!watch->ready && kind != EVENT_READY) return;
  size_t length = strlen(name);
  uint8_t head[5] = {kind, (uint8_t)length, (uint8_t)(length >> 8), (uint8_t)(length >> 16), (uint8_t)(length >> 24)};
  struct part parts[2] = {{head, sizeof head}, {name, length}};
  send_frame(FRAME_EVENT, 0, watch->channel, parts, 2);
}

static struct watch *find(uint64_t id) {
  struct watch *watch = all.watches;
  while (watch != NULL && watch->id != id) watch = watch->next;
  return watch;
}

/* A directory to look through, as soon as the lock is free; or one that has gone. */
struct appeared {
  struct appeared *next;
  uint64_t id;
  char *path;
};

static struct appeared *remember(uint64_t id, char *path, struct appeared *next) {
  struct appeared *appeared = allocate(sizeof *appeared);
  *appeared = (struct appeared){.next = next, .id = id, .path = path};
  return appeared;
}

static void about_itself(const struct watch *watch, uint32_t mask) {
  if ((mask & (IN_ATTRIB | IN_MODIFY)) != 0) tell(watch, EVENT_CHANGED, "");
  if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF)) == 0) return;
  /* As Node: what has another name or none may be there again. */
  struct stat stat;
  bool exists = act_as(watch->identity) && fstatat(AT_FDCWD, watch->path, &stat, 0) == 0;
  tell(watch, exists ? EVENT_CREATED : EVENT_REMOVED, "");
}

static void about_entry(struct watch *watch, const char *path, uint32_t mask, struct appeared **appeared,
                        struct appeared **gone) {
  bool is_directory = (mask & IN_ISDIR) != 0 && watch->recursive;
  if ((mask & (IN_CREATE | IN_MOVED_TO)) != 0) {
    tell(watch, EVENT_CREATED, path);
    if (is_directory) *appeared = remember(watch->id, text("%s", path), *appeared);
  }
  if ((mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
    tell(watch, EVENT_REMOVED, path);
    if (is_directory && (mask & IN_MOVED_FROM) != 0) *gone = remember(watch->id, text("%s", path), *gone);
  }
  if ((mask & (IN_ATTRIB | IN_MODIFY)) != 0) tell(watch, EVENT_CHANGED, path);
}

static void handle(const struct inotify_event *event, struct appeared **appeared) {
  if ((event->mask & IN_Q_OVERFLOW) != 0) {
    for (struct watch *watch = all.watches; watch != NULL; watch = watch->next) {
      tell(watch, EVENT_LOST, "");
      if (watch->recursive) *appeared = remember(watch->id, text("%s", ""), *appeared);
    }
    return;
  }
  const char *name = event->len > 0 ? event->name : "";
  struct appeared *gone = NULL; /* what has moved away is forgotten only when nobody goes through the spots */
  for (struct spot *spot = *bucket_of(event->wd), *next; (spot = next_of(spot, event->wd)) != NULL; spot = next) {
    next = spot->next_in_bucket;
    if ((event->mask & IN_IGNORED) != 0) {
      remove_spot(spot, false);
    } else if (name[0] == 0) {
      if (spot->path[0] == 0) about_itself(spot->watch, event->mask); /* of others their directory tells */
    } else {
      char *path = below(spot->path, name);
      about_entry(spot->watch, path, event->mask, appeared, &gone);
      free(path);
    }
  }
  while (gone != NULL) {
    struct appeared *next = gone->next;
    remove_spots_below(find(gone->id), gone->path);
    free(gone->path);
    free(gone);
    gone = next;
  }
}

/* --- looking through directories -------------------------------------------------------------------------------------------- */

struct scan {
  uint64_t id;
  bool tells; /* of what it finds */
  struct appeared *pending;
};

/* What was found in a directory, told if the watch is still there. */
static bool found(struct scan *scan, const char *path) {
  if (!scan->tells) return true;
  if (!wait_for_room()) return false;
  pthread_mutex_lock(&all.lock);
  struct watch *watch = find(scan->id);
  if (watch != NULL) tell(watch, EVENT_CREATED, path);
  pthread_mutex_unlock(&all.lock);
  return watch != NULL;
}

static bool is_directory(DIR *directory, const struct dirent *entry) {
  if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
  struct stat stat;
  return fstatat(dirfd(directory), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(stat.st_mode);
}

static bool look_through(struct scan *scan, const char *full, const char *path) {
  DIR *directory = opendir(full);
  if (directory == NULL) return true;
  bool goes_on = true;
  for (struct dirent *entry; goes_on && (entry = readdir(directory)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char *name = below(path, entry->d_name);
    goes_on = found(scan, name);
    if (goes_on && is_directory(directory, entry)) scan->pending = remember(scan->id, name, scan->pending);
    else free(name);
  }
  closedir(directory);
  return goes_on;
}

/* Watches directories and then what is in them; 0 or why not all of it is watched. */
static int scan_all(struct scan *scan, struct operation *operation) {
  int failed = 0;
  bool goes_on = true;
  while (scan->pending != NULL) {
    struct appeared *next = scan->pending;
    scan->pending = next->next;
    char *full = NULL;
    if (goes_on && operation != NULL && is_cancelled(operation)) goes_on = false;
    if (goes_on) {
      pthread_mutex_lock(&all.lock);
      struct watch *watch = find(scan->id);
      if (watch == NULL || !act_as(watch->identity)) {
        goes_on = false;
      } else {
        int error = add_spot(watch, next->path);
        if (error == ENOSPC || error == ENOMEM) {
          failed = error;
          goes_on = false;
          tell(watch, EVENT_LOST, "");
        }
        if (error == 0) full = next->path[0] == 0 ? text("%s", watch->path) : below(watch->path, next->path);
      }
      pthread_mutex_unlock(&all.lock);
    }
    if (full != NULL) goes_on = look_through(scan, full, next->path);
    free(full);
    free(next->path);
    free(next);
  }
  return failed;
}

static void scan_appeared(struct appeared *appeared) {
  /* The last one is the first of the list. */
  while (appeared != NULL) {
    struct appeared *next = appeared->next;
    appeared->next = NULL;
    /* After an overflow the whole is looked through, of which most was there before. */
    struct scan scan = {.id = appeared->id, .tells = appeared->path[0] != 0, .pending = appeared};
    scan_all(&scan, NULL);
    appeared = next;
  }
}

/* --- the thread ------------------------------------------------------------------------------------------------------------------ */

static void handle_all(const char *buffer, size_t length) {
  struct appeared *appeared = NULL;
  pthread_mutex_lock(&all.lock);
  for (size_t at = 0; at < length;) {
    const struct inotify_event *event = (const void *)(buffer + at);
    handle(event, &appeared);
    at += sizeof *event + event->len;
  }
  pthread_mutex_unlock(&all.lock);
  scan_appeared(appeared);
}

/* Whether nobody watches any more; then there is no inotify any more either. */
static bool is_over(void) {
  pthread_mutex_lock(&all.lock);
  bool over = all.watches == NULL;
  if (over) {
    close(all.inotify);
    close(all.wake);
    all.inotify = all.wake = -1;
  }
  pthread_mutex_unlock(&all.lock);
  return over;
}

struct descriptors { int inotify, wake; };

static void *watch_main(void *argument) {
  struct descriptors descriptors = *(struct descriptors *)argument;
  free(argument);
  char *buffer = allocate(BUFFER);
  while (!is_over()) {
    struct pollfd polled[2] = {{.fd = descriptors.inotify, .events = POLLIN}, {.fd = descriptors.wake, .events = POLLIN}};
    if (poll(polled, 2, -1) <= 0) continue;
    uint64_t count;
    if (polled[1].revents != 0 && read(descriptors.wake, &count, sizeof count) < 0) continue;
    /* While the host is slow, events wait in the kernel, which in the end says that some were lost. */
    if (polled[0].revents == 0 || !wait_for_room()) continue;
    ssize_t length = read(descriptors.inotify, buffer, BUFFER);
    if (length > 0) handle_all(buffer, (size_t)length);
  }
  free(buffer);
  return NULL;
}

/* With the lock held. */
static int start(void) {
  if (all.inotify >= 0) return 0;
  int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (inotify < 0) return errno;
  int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int error = wake < 0 ? errno : 0;
  if (error == 0) {
    struct descriptors *descriptors = allocate(sizeof *descriptors);
    *descriptors = (struct descriptors){inotify, wake};
    if (!thread_make(watch_main, descriptors)) {
      free(descriptors);
      close(wake);
      error = EAGAIN;
    }
  }
  if (error != 0) {
    close(inotify);
    return error;
  }
  all.inotify = inotify;
  all.wake = wake;
  return 0;
}

/* --- watches ------------------------------------------------------------------------------------------------------------------------ */

int operation_watch(struct operation *operation) {
  const struct file_request *request = &operation->request;
  struct stat stat;
  if (fstatat(AT_FDCWD, request->path, &stat, 0) != 0) return errno;
  struct watch *watch = allocate_zeroed(sizeof *watch);
  watch->channel = operation->channel;
  watch->identity = operation->identity;
  watch->recursive = request->recursive && S_ISDIR(stat.st_mode);
  watch->path = text("%s", request->path);
  operation->watch = watch;

  pthread_mutex_lock(&all.lock);
  watch->id = ++all.last_id;
  watch->next = all.watches;
  watch->link = &all.watches;
  if (all.watches != NULL) all.watches->link = &watch->next;
  all.watches = watch;
  int error = start();
  if (error == 0) error = add_spot(watch, "");
  pthread_mutex_unlock(&all.lock);

  if (error == 0 && watch->recursive) {
    struct scan scan = {.id = watch->id, .pending = remember(watch->id, text("%s", ""), NULL)};
    error = scan_all(&scan, operation);
  }
  if (error != 0) return error;
  pthread_mutex_lock(&all.lock);
  watch->ready = true;
  tell(watch, EVENT_READY, "");
  pthread_mutex_unlock(&all.lock);
  return 0;
}

void watch_stop(struct operation *operation) {
  struct watch *watch = operation->watch;
  operation->watch = NULL;
  pthread_mutex_lock(&all.lock);
  while (watch->spots != NULL) remove_spot(watch->spots, true);
  *watch->link = watch->next;
  if (watch->next != NULL) watch->next->link = watch->link;
  if (all.watches == NULL && all.wake >= 0) {
    uint64_t one = 1;
    if (write(all.wake, &one, sizeof one) < 0) { /* it is awake already */
    }
  }
  pthread_mutex_unlock(&all.lock);
  free(watch->path);
  free(watch);
}
