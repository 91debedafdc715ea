/* What the modules of the files' side know of each other. */
#ifndef EFFECT_SANDBOX_FILES_H
#define EFFECT_SANDBOX_FILES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "agent.h"

/* --- worker threads (workers.c) -------------------------------------------------------------------------------------- */

/* Something to do on a thread of the pool; the first member of what is done. */
struct job {
  struct job *next;
  void (*run)(struct job *);
};
void workers_start(void);
void workers_submit(struct job *);
/* Takes a job back that no thread has begun with; false when one has. */
bool workers_withdraw(struct job *);
/* Does the one urgent job there can be, at once, on a thread that nothing else can hold up. */
void workers_urgent(struct job *);
/* Someone who is to stop may hang in a system call: they are woken until `operations_wake` finds none of them. */
void workers_wake(void);
/* For the urgent job, which keeps the thread from waking: called now and then, it does that meanwhile. */
void workers_tick(void);
/* A thread of its own, with the signals blocked. */
bool thread_make(void *(*main)(void *), void *argument);

/*
 * The user; the user with the sandbox's group; and who owns what the sandbox makes in `home`, so that the user, as whom
 * sessions act, does not.
 */
enum identity { AS_ROOT, AS_SESSION, AS_SANDBOX, AS_HOME };
enum { HOME_OWNER = SANDBOX_GROUP };
/* Lets this thread, and no other, act with the rights of the user; false when the system does not let it. */
bool act_as(enum identity);

/* --- requests (decode.c) ---------------------------------------------------------------------------------------------- */

/* One FILE frame. Which of the fields are used depends on the operation. */
struct file_request {
  uint8_t operation;
  char *path, *second, *third;
  uint32_t handle, mode, flags, owner, group, most;
  uint64_t size, offset;
  int64_t position, accessed, modified;
  bool follow, recursive, within, force, overwrite, times, directory;
  uint8_t *bytes;
  size_t length;
};
/* False when it is malformed; then there is nothing to free. */
bool file_decode(const uint8_t *payload, size_t length, struct file_request *);
void file_request_free(struct file_request *);

/* --- operations (files.c) ----------------------------------------------------------------------------------------------- */

struct chunk {
  struct chunk *next;
  size_t length;
  uint8_t bytes[];
};

enum state { QUEUED, RUNNING, WATCHING, ENDING };

struct watch;

struct operation {
  struct job job;
  struct operation *next_in_bucket, *next, **link; /* under the table's lock, as the following */
  enum state state;
  pthread_t thread;
  uint32_t channel;
  bool sandbox;
  enum identity identity;
  bool began; /* something of the streams was sent or taken */
  struct file_request request;
  atomic_bool cancelled;

  pthread_mutex_t lock; /* of the streams */
  pthread_cond_t changed;
  uint64_t credit;            /* what may be sent */
  uint64_t granted, received; /* of what comes in, in all */
  struct chunk *first, **last;
  bool ended;
  bool waited; /* for what comes in, since credit was given */

  struct watch *watch;
  uint8_t stage;
  uint8_t small[128]; /* the reply, unless it is in `reply` */
  uint8_t *reply;     /* malloc */
  size_t reply_length;
};

static inline bool is_cancelled(struct operation *operation) {
  return atomic_load_explicit(&operation->cancelled, memory_order_relaxed);
}
/* In `home` the group of those who act for the sandbox may do what the owner may. */
static inline mode_t shared(const struct operation *operation, mode_t mode) {
  return operation->identity == AS_HOME ? mode | (mode & 0700) >> 3 : mode;
}
/* The mode of what is made: the process has no umask. */
static inline mode_t made(const struct operation *operation, mode_t mode) { return shared(operation, mode & 07755); }
void reply_u32(struct operation *, uint32_t);
void reply_u64(struct operation *, uint64_t);
/* Takes the bytes over. */
void reply_bytes(struct operation *, uint8_t *bytes, size_t length);
void reply_string(struct operation *, const char *);

/* Signals whoever runs an operation that is cancelled; false when nobody does. */
bool operations_wake(void);
/* Cancels what sessions have going on, and returns when nothing of it is left. */
void operations_abandon_sessions(void);
/* The last step of an operation: sends its final frame, and frees it. */
void operation_finish(struct operation *, int error);

/* Opens as `open` does, waits where that waits, and gives up when the operation is cancelled: -1 and errno ECANCELED. */
int open_waiting(struct operation *, const char *path, int flags, mode_t mode);

/* The kernel's statx, which not every libc has. */
struct info {
  struct stat stat;
  int64_t birth;
  bool mount_known, mount_root; /* whether something is mounted here, where the kernel tells */
};
int info_get(int directory, const char *path, int flags, struct info *);

/* --- handles (handles.c) ------------------------------------------------------------------------------------------------ */

/* Gives a descriptor a handle; 0 when there are too many. */
uint32_t handle_make(int fd, bool sandbox);
/* The descriptor, which stays open until `handle_release`; -1 when there is no such handle. */
int handle_use(uint32_t handle);
void handle_release(uint32_t handle);
bool handle_close(uint32_t handle);
void handles_close_sessions(void);

/* --- paths (paths.c) ------------------------------------------------------------------------------------------------------- */

/* All give strings of their own. */
char *path_absolute(const char *path);                         /* empty stays empty */
char *path_resolve(const char *base, const char *path);        /* lexically, without `.`, `..` and double slashes */
char *path_directory(const char *path);                        /* as dirname */
bool path_within(const char *above, const char *path);         /* both resolved */
int path_real(struct operation *, const char *path, char **result); /* gives errno */
int make_directories(struct operation *, const char *path, mode_t mode);

/* --- walks through trees (walk.c) ----------------------------------------------------------------------------------------- */

struct level {
  int fd; /* -1 while it is closed, to save descriptors */
  dev_t dev;
  ino_t ino;
  char *name; /* in the level above; NULL at the top */
  char *names; /* read and not yet visited: a byte of type, and the name */
  size_t used, at, room;
  bool read;   /* there are no more to read */
  bool linked; /* came here through a link, so `..` does not lead back */
  bool keep;   /* for the walker's own use, as `mode` */
  mode_t mode;
};

/*
 * A walk through a tree of any depth, without recursion and with few descriptors: those of far levels are closed, and
 * opened again by `..`, which must then be the directory that it was.
 */
struct walk {
  struct level *levels;
  size_t depth, room;
  size_t open, parked; /* descriptors; levels below `parked` are closed or stay open */
  int flags;           /* to open directories with */
  char *path;          /* of the current level, ending with a slash, or empty */
  size_t path_length, path_room;
  char *buffer;
};
/* Take over the descriptor, also when they fail; give errno. */
int walk_begin(struct walk *, int fd);
/* The same, for a walk that only enters and leaves. */
int walk_begin_path(struct walk *, int fd);
/* The next entry of the current directory (`type` as in `DT_*`, never unknown): 1, 0 at its end, or -errno. */
int walk_next(struct walk *, const char **name, uint8_t *type);
int walk_enter(struct walk *, const char *name, bool follow);
/* Goes up. The name of what was left stays in `left` until the next call. */
int walk_leave(struct walk *, char **left);
void walk_end(struct walk *);
static inline struct level *walk_level(struct walk *walk) { return &walk->levels[walk->depth - 1]; }

/* --- trees (tree.c, copy.c) ------------------------------------------------------------------------------------------------- */

struct emptying {
  struct operation *operation; /* that may be cancelled; NULL for a reset */
  bool spare_mounts;           /* leave alone what is mounted, and the way to it */
  bool kept;                   /* something was spared */
  int error;                   /* the first that happened */
};
/* Removes everything in a directory; takes the descriptor over. */
void tree_empty(int fd, struct emptying *);

int operation_remove(struct operation *);
int operation_list(struct operation *);
int operation_copy(struct operation *);
int operation_copy_file(struct operation *);
/* Copies the rest of one file. `operation` may be NULL. */
int copy_data(struct operation *, int from, int to);

/* --- streams (transfer.c) ----------------------------------------------------------------------------------------------------- */

/* Sends as DATA of stream 1, as credit allows. */
int stream_send(struct operation *, const void *bytes, size_t length);
/* Returns what to keep: bytes that came in; NULL at the end, or when cancelled. */
struct chunk *stream_take(struct operation *);
/* What has come in, and what was taken. The memory is used again. */
struct chunk *chunk_make(const uint8_t *bytes, size_t length);
void chunk_free(struct chunk *);
int operation_download(struct operation *);
int operation_upload(struct operation *, int flags);
int operation_mkstream(struct operation *);

/* --- places (places.c), and what else a session can change (kept.c) ------------------------------------------------------ */

/* What a reset could not make as it was: the first names, and how many. */
struct left {
  char *names;
  size_t count;
};
/* Whether a path leads into `home`, as text. */
bool places_in_home(const char *path);
/* `name` may be empty, and `error` 0. */
void left_add(struct left *, const char *path, const char *name, int error);
/* Opens a directory by an absolute path that leads through no link. */
int directory_open(const char *path);
/* Whether something is mounted at a name, or at a descriptor with an empty name, that is in a file system. */
bool is_mount(int directory, const char *name, dev_t around);
/*
 * Change what a descriptor stands for that was opened with O_PATH, whatever its name leads to meanwhile; give errno. The
 * mode of a link cannot be changed.
 */
int change_mode(int fd, mode_t mode);
int change_owner(int fd, uid_t uid, gid_t gid, int directory, const char *name);
bool has_attributes(int fd);
void remove_attributes(int fd);

/* Whether shared memory, devices and the like are those of a container, and not of the machine that this is tried on. */
bool is_contained(void);

void kept_remember(void);
void kept_restore(struct left *);

/* --- watches (watch.c) ------------------------------------------------------------------------------------------------------------ */

int operation_watch(struct operation *);
/* No event comes after this. */
void watch_stop(struct operation *);

#endif
