/*
 * The threads that work on files. Each acts with the rights of the user while it does; operations block, so there are as
 * many threads as needed, and those that are idle end.
 *
 * One more thread, the keeper, does what must not wait for a free worker: the reset, and waking those that hang in a system
 * call although they are to stop. A signal interrupts the call; one that comes just before the call does not, so it is
 * repeated until the worker has noticed.
 */
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

enum {
  PERMANENT = 2,         /* threads that are made at the start, when nothing can have used up the processes */
  QUICKLY = 64,          /* up to so many threads are made as soon as there is work */
  SLOWLY = 256,          /* and up to so many when none of those got free for a while */
  IDLE_SECONDS = 5,
  WAKE_MILLIS = 5,
  GROW_MILLIS = 50,
  STACK = 256 * 1024
};

static struct {
  pthread_mutex_t lock;
  pthread_cond_t work, keeper;
  struct job *first, **last;
  unsigned threads, idle, queued;
  unsigned taken; /* jobs, in all */
  struct job *urgent;
  bool waking;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &pool.first};

/* The system has no user of the file system alone: see below. */
static atomic_bool only_effective;

static struct timespec in_millis(long millis) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_sec += millis / 1000;
  at.tv_nsec += millis % 1000 * 1000000;
  if (at.tv_nsec >= 1000000000) {
    at.tv_sec++;
    at.tv_nsec -= 1000000000;
  }
  return at;
}

bool thread_make(void *(*run)(void *), void *argument) {
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, &attributes, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error == 0;
}

static struct job *take(void) {
  struct job *job = pool.first;
  pool.first = job->next;
  if (pool.first == NULL) pool.last = &pool.first;
  pool.queued--;
  pool.taken++;
  return job;
}

static void *work(void *unused) {
  (void)unused;
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, SIGURG);
  pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
  pthread_mutex_lock(&pool.lock);
  for (;;) {
    while (pool.first == NULL) {
      struct timespec end = in_millis(IDLE_SECONDS * 1000);
      pool.idle++;
      int error = pthread_cond_timedwait(&pool.work, &pool.lock, &end);
      pool.idle--;
      if (error == ETIMEDOUT && pool.first == NULL && pool.threads > PERMANENT) {
        pool.threads--;
        pthread_mutex_unlock(&pool.lock);
        return NULL;
      }
    }
    struct job *job = take();
    pthread_mutex_unlock(&pool.lock);
    job->run(job);
    pthread_mutex_lock(&pool.lock);
  }
}

/* With the lock held. */
static bool grow(void) {
  if (!thread_make(work, NULL)) return false;
  pool.threads++;
  return true;
}

void workers_submit(struct job *job) {
  job->next = NULL;
  pthread_mutex_lock(&pool.lock);
  *pool.last = job;
  pool.last = &job->next;
  pool.queued++;
  if (pool.queued > pool.idle) {
    if (pool.threads >= QUICKLY || !grow()) pthread_cond_signal(&pool.keeper);
  }
  pthread_cond_signal(&pool.work);
  pthread_mutex_unlock(&pool.lock);
}

bool workers_withdraw(struct job *job) {
  bool found = false;
  pthread_mutex_lock(&pool.lock);
  for (struct job **at = &pool.first; *at != NULL; at = &(*at)->next) {
    if (*at != job) continue;
    *at = job->next;
    if (pool.last == &job->next) pool.last = at;
    pool.queued--;
    found = true;
    break;
  }
  pthread_mutex_unlock(&pool.lock);
  return found;
}

void workers_urgent(struct job *job) {
  pthread_mutex_lock(&pool.lock);
  pool.urgent = job;
  pthread_cond_signal(&pool.keeper);
  pthread_mutex_unlock(&pool.lock);
}

void workers_wake(void) {
  pthread_mutex_lock(&pool.lock);
  pool.waking = true;
  pthread_cond_signal(&pool.keeper);
  pthread_mutex_unlock(&pool.lock);
}

static bool is_crowded(void) { return pool.queued > pool.idle && pool.threads < SLOWLY; }

void workers_tick(void) {
  static struct timespec last; /* only the keeper comes here */
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  long millis = (now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000;
  if (millis < WAKE_MILLIS) return;
  last = now;
  operations_wake();
}

static void *keep(void *unused) {
  (void)unused;
  pthread_mutex_lock(&pool.lock);
  for (;;) {
    if (pool.urgent != NULL) {
      struct job *job = pool.urgent;
      pool.urgent = NULL;
      pthread_mutex_unlock(&pool.lock);
      job->run(job);
      pthread_mutex_lock(&pool.lock);
    } else if (pool.waking) {
      pool.waking = false;
      pthread_mutex_unlock(&pool.lock);
      bool more = operations_wake();
      pthread_mutex_lock(&pool.lock);
      if (!more) continue;
      pool.waking = true;
      struct timespec end = in_millis(WAKE_MILLIS);
      pthread_cond_timedwait(&pool.keeper, &pool.lock, &end);
    } else if (is_crowded()) {
      struct timespec end = in_millis(GROW_MILLIS);
      unsigned taken = pool.taken;
      unsigned missing = pool.queued - pool.idle;
      int error = pthread_cond_timedwait(&pool.keeper, &pool.lock, &end);
      if (error == ETIMEDOUT && pool.taken == taken) {
        for (bool made = true; made && is_crowded();) made = grow() && --missing > 0;
      }
    } else {
      pthread_cond_wait(&pool.keeper, &pool.lock);
    }
  }
  return NULL;
}

static void nothing(int signal) { (void)signal; }

void workers_start(void) {
  atomic_store(&only_effective, syscall(SYS_setfsuid, -1) < 0);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&pool.work, &monotonic);
  pthread_cond_init(&pool.keeper, &monotonic);
  pthread_condattr_destroy(&monotonic);
  struct sigaction action = {.sa_handler = nothing}; /* without SA_RESTART: calls end with EINTR */
  sigemptyset(&action.sa_mask);
  sigaction(SIGURG, &action, NULL);
  pthread_mutex_lock(&pool.lock);
  bool made = thread_make(keep, NULL);
  while (made && pool.threads < PERMANENT) made = grow();
  pthread_mutex_unlock(&pool.lock);
  if (!made) die("cannot make threads");
}

/* --- whose rights a thread has -------------------------------------------------------------------------------------- */

/*
 * By system calls of this thread alone: the functions of libc change all threads. Once the file system's user is not root,
 * the kernel takes the capabilities that bear on files away, until it is root again.
 *
 * gVisor does not know that user. There the effective user has to do, which costs all capabilities meanwhile.
 */
static bool set_groups(const gid_t *groups, size_t count, gid_t gid) {
  if (syscall(SYS_setgroups, count, groups) != 0) return false;
  if (atomic_load(&only_effective)) return syscall(SYS_setresgid, -1, gid, -1) == 0;
  syscall(SYS_setfsgid, gid);
  return (gid_t)syscall(SYS_setfsgid, -1) == gid;
}

static bool set_user(uid_t uid) {
  if (atomic_load(&only_effective)) return syscall(SYS_setresuid, -1, uid, -1) == 0;
  syscall(SYS_setfsuid, uid);
  return (uid_t)syscall(SYS_setfsuid, -1) == uid;
}

/* Root, too, acts without capabilities, as its commands do. They stay permitted, so that they can be had again. */
static bool set_capabilities(bool effective) {
  struct { uint32_t version; int thread; } header = {.version = 0x20080522}; /* _LINUX_CAPABILITY_VERSION_3 */
  struct { uint32_t effective, permitted, inheritable; } sets[2];
  if (syscall(SYS_capget, &header, sets) != 0) return false;
  for (int index = 0; index < 2; index++) sets[index].effective = effective ? sets[index].permitted : 0;
  return syscall(SYS_capset, &header, sets) == 0;
}

static bool become_root(void) { return set_user(0) && set_capabilities(true) && set_groups(NULL, 0, 0); }

bool act_as(enum identity wanted) {
  static _Thread_local enum identity now = AS_ROOT;
  if (wanted == now || getuid() != 0) return true;
  if (now != AS_ROOT) {
    if (!become_root()) return false;
    now = AS_ROOT;
  }
  if (wanted == AS_ROOT) return true;
  size_t count = settings.group_count;
  gid_t *groups = allocate((count + 2) * sizeof *groups);
  for (size_t index = 0; index < count; index++) groups[index] = settings.groups[index];
  if (wanted != AS_SESSION) groups[count++] = SANDBOX_GROUP;
  if (wanted == AS_HOME) groups[count++] = settings.gid;
  uid_t uid = wanted == AS_HOME ? HOME_OWNER : settings.uid;
  gid_t gid = wanted == AS_HOME ? SANDBOX_GROUP : settings.gid;
  bool changed = set_groups(groups, count, gid) && set_user(uid) && (uid != 0 || set_capabilities(false));
  free(groups);
  if (changed) now = wanted;
  else if (!become_root()) die("cannot go back to root");
  return changed;
}
