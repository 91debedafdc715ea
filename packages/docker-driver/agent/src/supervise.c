/*
 * The supervisor of a command.
 *
 * The agent has threads, so between its fork and the command's exec only system calls are made: no allocation, no lock,
 * and no function of the C library that would act on threads which are not there (setuid and its kind).
 */
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "processes.h"
#include "protocol.h"
#include "spare.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* Carries "target and signal" to a supervisor. Not SIGRTMIN: C libraries differ about it. */
#define SIGNAL_ORDER 40
#define COMMAND_OOM_SCORE "500"
#define SECOND 1000000000l
#define BUSY_TRIES 20
#define MANY_PROCESSES 16384u
#define COMMAND_STACK (64u * 1024u)

static int report_fd = -1;
static struct rlimit command_descriptors;
static pid_t agent;
static bool hide; /* become SUPERVISOR_USER */

/* --- capabilities ----------------------------------------------------------------------------------------------------- */

struct capability_header {
  uint32_t version;
  int pid;
};
struct capability_sets {
  uint32_t effective, permitted, inheritable;
};
#define CAPABILITY_VERSION 0x20080522u

/* CAP_KILL, CAP_SETGID, CAP_SETUID */
#define NEEDED_CAPABILITIES (1u << 5 | 1u << 6 | 1u << 7)

static struct capability_sets capabilities[2];

static int set_capabilities(const struct capability_sets *sets) {
  struct capability_header header = {CAPABILITY_VERSION, 0};
  return (int)syscall(SYS_capset, &header, sets);
}

/* Whether supervisors will get orphans. Process 1 gets them anyway, and so gVisor refuses to others what it grants to it. */
static bool can_adopt(void) {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return false;
  if (getpid() != 1) return true;
  pid_t pid = fork();
  if (pid == 0) _exit(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 ? 0 : 1);
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return !WIFEXITED(status) || WEXITSTATUS(status) == 0;
}

void supervise_start(int report, const struct rlimit *descriptors) {
  report_fd = report;
  command_descriptors = *descriptors;
  agent = getpid();
  if (!can_adopt()) processes_use_badges();
  struct capability_header header = {CAPABILITY_VERSION, 0};
  struct rlimit processes;
  /* Only root's processes are never counted against a limit; those of this user are, on the whole machine. */
  hide = geteuid() == 0 && syscall(SYS_capget, &header, capabilities) == 0 &&
         (capabilities[0].effective & NEEDED_CAPABILITIES) == NEEDED_CAPABILITIES &&
         getrlimit(RLIMIT_NPROC, &processes) == 0 && processes.rlim_cur >= MANY_PROCESSES;
}

/* --- the command, up to its exec ----------------------------------------------------------------------------------------- */

struct failure {
  uint8_t stage;
  int32_t error;
};

static bool set_groups(const struct launch *launch) {
  size_t count = launch->group_count;
  if (processes_have_badges()) {
    launch->groups[count] = processes_badge(getppid());
    if (syscall(SYS_setgroups, count + 1, launch->groups) == 0) return true;
    /* A user namespace may not have so high a number. Then what leaves its parent is found at the next reset. */
    if (errno != EINVAL) return false;
  }
  return syscall(SYS_setgroups, count, launch->groups) == 0;
}

static bool become_user(const struct launch *launch) {
  if (geteuid() != 0 && !hide) return launch->uid == geteuid();
  if (!set_groups(launch)) return false;
  if (syscall(SYS_setresgid, launch->gid, launch->gid, launch->gid) != 0) return false;
  if (syscall(SYS_setresuid, launch->uid, launch->uid, launch->uid) != 0) return false;
  const struct capability_sets none[2] = {{0, 0, 0}, {0, 0, 0}};
  return set_capabilities(none) == 0;
}

/* Makes the command rather than the agent the one that is killed when memory runs out. */
static void offer_to_oom_killer(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t written = write(fd, COMMAND_OOM_SCORE, sizeof COMMAND_OOM_SCORE - 1);
  (void)written;
  close(fd);
}

static struct failure start_command(const struct launch *launch) {
  struct failure start = {STAGE_START, 0};
  setsid();
  if (launch->terminal && ioctl(0, TIOCSCTTY, 0) != 0) goto failed;
  offer_to_oom_killer();
  if (setrlimit(RLIMIT_NOFILE, &command_descriptors) != 0) goto failed;
  for (size_t i = 0; i < launch->limit_count; i++)
    if (syscall(SYS_prlimit64, 0, launch->limits[i].resource, &launch->limits[i].value, NULL) != 0) goto failed;
  errno = EPERM;
  if (!become_user(launch)) goto failed;
  /* Whoever could trace us now could use what memory we still share with the supervisor. */
  if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) goto failed;
  umask(022);
  if (chdir(launch->cwd) != 0) return (struct failure){STAGE_CWD, errno};
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);

  int error = ENOENT;
  for (char **candidate = launch->candidates; *candidate != NULL; candidate++) {
    execve(*candidate, launch->argv, launch->env);
    /* What was just written may still be open in a supervisor that is about to let go of what it got from the agent. */
    for (int i = 0; i < BUSY_TRIES && errno == ETXTBSY; i++) {
      nanosleep(&(struct timespec){0, SECOND / 500}, NULL);
      execve(*candidate, launch->argv, launch->env);
    }
    if (errno == EACCES || (error != EACCES && (errno == ENOENT || errno == ENOTDIR))) error = errno;
    else if (errno != ENOENT && errno != ENOTDIR) return (struct failure){STAGE_EXEC, errno};
  }
  return (struct failure){STAGE_EXEC, error};
failed:
  start.error = errno;
  return start;
}

struct birth {
  const struct launch *launch;
  int failed; /* pipe that says why there was no exec */
};

static int born(void *argument) {
  const struct birth *birth = argument;
  struct failure failure = start_command(birth->launch);
  ssize_t written = write(birth->failed, &failure, sizeof failure);
  (void)written;
  _exit(127);
}

/* --- the supervisor -------------------------------------------------------------------------------------------------- */

/* For kernels before 5.9, and system call filters that do not know close_range. */
static bool close_listed(int first) {
  _Alignas(struct directory_entry) char bytes[4096];
  int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return false;
  long got;
  while ((got = syscall(SYS_getdents64, directory, bytes, sizeof bytes)) > 0) {
    for (long at = 0; at < got;) {
      const struct directory_entry *entry = (const struct directory_entry *)(const void *)(bytes + at);
      at += entry->length;
      int fd = 0;
      for (const char *digit = entry->name; *digit >= '0' && *digit <= '9'; digit++) fd = fd * 10 + (*digit - '0');
      if (fd >= first && fd != directory) close(fd);
    }
  }
  close(directory);
  return got == 0;
}

static void close_from(int first) {
  if (syscall(SYS_close_range, (unsigned)first, UINT_MAX, 0) == 0 || close_listed(first)) return;
  struct rlimit limit;
  int last = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (int)limit.rlim_cur : 65536;
  for (int fd = first; fd < last; fd++) close(fd);
}

/* Puts the command's descriptors where they belong, the report pipe right above them, and closes all others. */
static bool arrange(const struct launch *launch, int *highest) {
  bool wanted[256] = {false};
  *highest = 2;
  for (size_t i = 0; i < launch->descriptor_count; i++) {
    if (launch->descriptors[i].to > *highest) *highest = launch->descriptors[i].to;
    wanted[launch->descriptors[i].to] = true;
  }
  if (report_fd <= *highest && (report_fd = fcntl(report_fd, F_DUPFD_CLOEXEC, *highest + 1)) < 0) return false;
  for (size_t i = 0; i < launch->descriptor_count; i++) {
    int *from = &launch->descriptors[i].from;
    if (*from <= *highest && (*from = fcntl(*from, F_DUPFD_CLOEXEC, *highest + 1)) < 0) return false;
  }
  for (size_t i = 0; i < launch->descriptor_count; i++)
    if (dup2(launch->descriptors[i].from, launch->descriptors[i].to) < 0) return false;
  if (report_fd != *highest + 1) {
    if (dup3(report_fd, *highest + 1, O_CLOEXEC) < 0) return false;
    report_fd = *highest + 1;
  }
  for (int fd = 0; fd <= *highest; fd++)
    if (!wanted[fd]) close(fd);
  close_from(report_fd + 1);
  return true;
}

static void become_supervisor(void) {
  prctl(PR_SET_NAME, "supervisor");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  setsid();
  if (hide) {
    prctl(PR_SET_KEEPCAPS, 1);
    if (syscall(SYS_setresuid, SUPERVISOR_USER, SUPERVISOR_USER, SUPERVISOR_USER) == 0) {
      set_capabilities(capabilities);
      prctl(PR_SET_DUMPABLE, 0);
    } else {
      hide = false;
    }
    prctl(PR_SET_KEEPCAPS, 0);
  }
  /* After the change of user, which forgets it. When the agent is process 1 its end takes everything along anyway. */
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != agent) _exit(1);
}

static void send_report(struct report report) {
  report.supervisor = getpid();
  ssize_t written;
  do written = write(report_fd, &report, sizeof report);
  while (written < 0 && errno == EINTR);
}

static struct report exit_report(pid_t pid, int status, const struct rusage *usage) {
  return (struct report){
      .kind = REPORT_EXIT,
      .pid = pid,
      .status = status,
      .user_time = (uint64_t)usage->ru_utime.tv_sec * 1000000 + (uint64_t)usage->ru_utime.tv_usec,
      .system_time = (uint64_t)usage->ru_stime.tv_sec * 1000000 + (uint64_t)usage->ru_stime.tv_usec,
      .memory = (uint64_t)usage->ru_maxrss * 1024,
  };
}

/* What a supervisor knows of its command. */
struct watched {
  pid_t command;
  bool exited;
  bool gone; /* and its process group has no members any more */
  bool apart; /* what is left is not below us: its end is not told to us */
};

/* Once the command has been waited for, only its remaining group keeps its number from being another's. */
static bool is_gone(const struct watched *watched) { return kill(-watched->command, 0) != 0 && errno == ESRCH; }

static void pass_on(const struct watched *watched, int target, int signal) {
  if (target == SIGNAL_PROCESS || (target == SIGNAL_GROUP && !watched->exited)) {
    if (!watched->exited) kill(target == SIGNAL_GROUP ? -watched->command : watched->command, signal);
    return;
  }
  if (target == SIGNAL_GROUP && watched->gone) return;
  struct processes processes = {0};
  pid_t last = 0;
  /* A second look for those that were born during the first. */
  for (int pass = 0; pass < 2; pass++) {
    if (!processes_read(&processes)) break;
    processes_mark(&processes, getpid());
    for (size_t i = 0; i < processes.count; i++) {
      const struct process *process = &processes.list[i];
      if (!process->below || process->pid <= last) continue;
      if (target == SIGNAL_TREE || process->group == watched->command) kill(process->pid, signal);
    }
    if (processes.count > 0) last = processes.list[processes.count - 1].pid;
  }
  processes_free(&processes);
}

/* Without children: whether something is left all the same, which wears our badge. */
static bool is_apart(const struct watched *watched) {
  if (!processes_have_badges()) return false;
  if (watched->exited && !watched->gone) return true;
  struct processes processes = {0};
  bool left = processes_left(&processes, getpid());
  processes_free(&processes);
  return left;
}

/* Reaps what has ended. Returns whether anything is left. */
static bool reap(struct watched *watched) {
  bool left = true;
  for (;;) {
    int status;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) left = false; /* no child, and so no descendant where their orphans are ours */
    if (pid <= 0) break;
    if (pid != watched->command) continue;
    watched->exited = true;
    struct report report = exit_report(pid, status, &usage);
    report.gone = watched->gone = is_gone(watched);
    send_report(report);
  }
  if (watched->exited && !watched->gone && is_gone(watched)) {
    watched->gone = true;
    send_report((struct report){.kind = REPORT_GONE});
  }
  watched->apart = !left && is_apart(watched);
  return left || watched->apart;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

/* Kills our children, as far as the system tells them (CONFIG_PROC_CHILDREN). */
static bool kill_children(void) {
  char bytes[4096];
  int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t got = read(fd, bytes, sizeof bytes - 1);
  close(fd);
  if (got < 0) return false;
  bytes[got] = 0;
  for (const char *at = bytes; *at >= '0' && *at <= '9';) {
    pid_t pid = 0;
    for (; *at >= '0' && *at <= '9'; at++) pid = pid * 10 + (*at - '0');
    /* Only a number with a space behind it is whole. */
    if (*at != ' ') break;
    kill(pid, SIGKILL);
    at++;
  }
  return true;
}

static _Noreturn void kill_all(struct watched *watched) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  struct processes processes = {0};
  if (!watched->exited) kill(-watched->command, SIGKILL);
  /*
   * With each that ends its children become ours, so mostly this gets at all of them. The look at all processes there are
   * is for those that fork, and would take its time if many supervisors had it at once.
   */
  bool told = !processes_have_badges();
  int64_t patience = SECOND / 10, next = now() + patience;
  while (reap(watched)) {
    told = told && kill_children();
    int64_t left = next - now();
    if (left > 0 && told) {
      sigtimedwait(&children, NULL, &(struct timespec){0, (long)left});
      continue;
    }
    processes_kill(&processes, getpid(), NULL, 0);
    if (!watched->exited) kill(watched->command, SIGKILL);
    if (patience < SECOND / 2) patience *= 2;
    next = now() + patience;
    if (!told) sigtimedwait(&children, NULL, &(struct timespec){0, SECOND / 500});
  }
  _exit(0);
}

static _Noreturn void watch(pid_t command) {
  struct watched watched = {.command = command};
  sigset_t orders;
  sigemptyset(&orders);
  sigaddset(&orders, SIGCHLD);
  sigaddset(&orders, SIGTERM);
  sigaddset(&orders, SIGNAL_ORDER);
  long pause = SECOND / 100;
  while (reap(&watched)) {
    siginfo_t order;
    int signal;
    if ((watched.exited && !watched.gone) || watched.apart) {
      /* The last of a group may be the child of one that has left it, and then we are not told of its end. */
      signal = sigtimedwait(&orders, &order, &(struct timespec){0, pause});
      if (pause < SECOND / 4) pause *= 2;
    } else {
      signal = sigwaitinfo(&orders, &order);
    }
    if (signal == SIGTERM) kill_all(&watched);
    if (signal != SIGNAL_ORDER || order.si_pid != agent) continue;
    pass_on(&watched, order.si_value.sival_int >> 8, order.si_value.sival_int & 0xff);
  }
  _exit(0);
}

static _Noreturn void run(const struct launch *launch) {
  static _Alignas(16) char stack[COMMAND_STACK];
  struct failure failure = {STAGE_START, 0};
  int highest = 0, pipe_fds[2] = {-1, -1};
  pid_t command = -1;
  if (arrange(launch, &highest) && pipe2(pipe_fds, O_CLOEXEC) == 0) {
    struct birth birth = {launch, pipe_fds[1]};
    command = clone(born, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &birth);
  }
  if (command < 0) {
    send_report((struct report){.kind = REPORT_FAILED, .stage = STAGE_START, .error = errno});
    _exit(0);
  }
  close(pipe_fds[1]);
  ssize_t got;
  do got = read(pipe_fds[0], &failure, sizeof failure);
  while (got < 0 && errno == EINTR);
  close(pipe_fds[0]);
  /* Nothing of the command's descriptors may stay here, or their other ends would never see the end. */
  if (highest > 2 || syscall(SYS_close_range, 0, (unsigned)highest, 0) != 0)
    for (int fd = 0; fd <= highest; fd++) close(fd);
  if (got == sizeof failure) {
    while (waitpid(command, NULL, __WALL) < 0 && errno == EINTR) continue;
    send_report((struct report){.kind = REPORT_FAILED, .stage = failure.stage, .error = failure.error});
    _exit(0);
  }
  send_report((struct report){.kind = REPORT_STARTED, .pid = command});
  watch(command);
}

/* --- for the agent ------------------------------------------------------------------------------------------------------- */

pid_t supervise(const struct launch *launch) {
  pid_t pid = spare_use(launch);
  if (pid < 0) pid = fork();
  if (pid == 0) {
    become_supervisor();
    run(launch);
  }
  return pid;
}

void supervise_ahead(void) {
  int socket;
  if (spare_waits() || !spare_socket(&socket)) return;
  pid_t pid = fork();
  if (pid == 0) {
    /* Nothing of the agent's may stay here: who reads the other end of a pipe would never see its end. */
    dup2(socket, 0);
    report_fd = dup3(report_fd, 1, O_CLOEXEC);
    close_from(2);
    become_supervisor();
    prctl(PR_SET_NAME, "spare");
    const struct launch *launch = spare_wait(0);
    prctl(PR_SET_NAME, "supervisor");
    run(launch);
  }
  spare_made(pid);
  close(socket);
}

void supervisor_signal(pid_t supervisor, uint8_t target, uint32_t signal) {
  if (signal == 0 || signal > 64) return;
  sigqueue(supervisor, SIGNAL_ORDER, (union sigval){.sival_int = (int)(signal | (uint32_t)target << 8)});
}

void supervisor_kill(pid_t supervisor) { kill(supervisor, SIGTERM); }
