/* A look at the processes there are. */
#include "processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP_PASSES 20
#define LEFT_PASSES 5
/* Above what others give out: directory services end below 2^31. */
#define FIRST_BADGE 0xf0000000u

static bool badges;

void processes_use_badges(void) { badges = true; }
bool processes_have_badges(void) { return badges; }
gid_t processes_badge(pid_t supervisor) { return FIRST_BADGE + (gid_t)supervisor; }

static bool add(struct processes *processes, struct process process) {
  if (processes->count == processes->capacity) {
    size_t capacity = processes->capacity == 0 ? 1024 : processes->capacity * 2;
    void *list = processes->capacity == 0
                     ? mmap(NULL, capacity * sizeof process, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                     : mremap(processes->list, processes->capacity * sizeof process, capacity * sizeof process,
                              MREMAP_MAYMOVE);
    if (list == MAP_FAILED) return false;
    processes->list = list;
    processes->capacity = capacity;
  }
  processes->list[processes->count++] = process;
  return true;
}

void processes_free(struct processes *processes) {
  if (processes->capacity > 0) munmap(processes->list, processes->capacity * sizeof *processes->list);
  *processes = (struct processes){0};
}

/* The number at the beginning of a text; 0 when there is none. */
static pid_t number(const char *at) {
  pid_t value = 0;
  while (*at >= '0' && *at <= '9' && value < 100000000) value = value * 10 + (*at++ - '0');
  return value;
}

/* Whether the /proc we see is that of our own process namespace: numbers would mean other processes otherwise. */
static bool is_ours(void) {
  char link[16];
  ssize_t length = readlink("/proc/self", link, sizeof link - 1);
  if (length <= 0) return false;
  link[length] = 0;
  return number(link) == getpid();
}

/* The text so many fields further on; an empty one when there are fewer. */
static const char *field(const char *at, int count) {
  for (; count > 0; count--) {
    at = strchr(at, ' ');
    if (at == NULL) return "";
    at++;
  }
  return at;
}

static bool read_file(int proc, const char *name, const char *file, char *bytes, size_t size) {
  char path[32];
  size_t length = strlen(name);
  if (length > 12) return false;
  memcpy(path, name, length);
  memcpy(path + length, file, strlen(file) + 1);
  int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t got = read(fd, bytes, size - 1);
  close(fd);
  if (got <= 0) return false;
  bytes[got] = 0;
  return true;
}

/* The supervisor that a process's badge names; 0 when it wears none. */
static pid_t read_badge(int proc, const char *name) {
  static const char title[] = "\nGroups:";
  char bytes[4096];
  if (!read_file(proc, name, "/status", bytes, sizeof bytes)) return 0;
  /* The last one is the real one: what goes before may be within the process's name. */
  const char *line = NULL;
  for (const char *at = strstr(bytes, title); at != NULL; at = strstr(at + 1, title)) line = at;
  if (line == NULL) return 0;
  for (const char *at = line + sizeof title - 1; *at != 0 && *at != '\n';) {
    uint64_t group = 0;
    if (*at < '0' || *at > '9') at++;
    while (*at >= '0' && *at <= '9') group = group * 10 + (uint64_t)(*at++ - '0');
    if (group > FIRST_BADGE && group < UINT32_MAX) return (pid_t)(group - FIRST_BADGE);
  }
  return 0;
}

static bool read_process(int proc, const char *name, struct process *process) {
  char bytes[512];
  if (!read_file(proc, name, "/stat", bytes, sizeof bytes)) return false;
  /* "pid (name) state parent group ...", and the name may hold anything */
  const char *at = strrchr(bytes, ')');
  if (at == NULL || at[1] != ' ' || at[2] == 0 || at[3] != ' ') return false;
  *process = (struct process){.pid = number(name), .state = at[2], .parent = number(at + 4)};
  at = field(at + 4, 1);
  process->group = number(at);
  process->threads = number(field(at, 15));
  if (badges) process->badge = read_badge(proc, name);
  return true;
}

static struct process *find(const struct processes *processes, pid_t pid) {
  size_t from = 0, to = processes->count;
  while (from < to) {
    size_t middle = from + (to - from) / 2;
    if (processes->list[middle].pid == pid) return &processes->list[middle];
    if (processes->list[middle].pid < pid) from = middle + 1;
    else to = middle;
  }
  return NULL;
}

/* Puts what wears a badge back below its supervisor, where that is still there. */
static void give_back(struct processes *processes) {
  for (size_t i = 0; i < processes->count; i++) {
    struct process *process = &processes->list[i];
    if (process->badge != 0 && process->badge != process->pid && find(processes, process->badge) != NULL)
      process->parent = process->badge;
  }
}

bool processes_read(struct processes *processes) {
  _Alignas(struct directory_entry) char bytes[8192];
  processes->count = processes->missed = 0;
  if (!is_ours()) return false;
  int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (proc < 0) return false;
  bool complete = true;
  for (;;) {
    long got = syscall(SYS_getdents64, proc, bytes, sizeof bytes);
    if (got < 0) complete = false;
    if (got <= 0) break;
    for (long at = 0; at < got;) {
      const struct directory_entry *entry = (const struct directory_entry *)(const void *)(bytes + at);
      at += entry->length;
      struct process process;
      if (entry->name[0] < '1' || entry->name[0] > '9') continue;
      if (!read_process(proc, entry->name, &process)) processes->missed++;
      else if (!add(processes, process)) complete = false;
    }
  }
  close(proc);
  if (badges) give_back(processes);
  return complete;
}

const struct process *processes_find(const struct processes *processes, pid_t pid) { return find(processes, pid); }

void processes_mark(struct processes *processes, pid_t root) {
  for (size_t i = 0; i < processes->count; i++) processes->list[i].known = false;
  for (size_t i = 0; i < processes->count; i++) {
    /* Up to something known, and then the same way again to note it down. */
    bool below = false;
    size_t steps = 0;
    for (struct process *at = &processes->list[i]; at != NULL && steps <= processes->count; steps++) {
      if (at->known) {
        below = at->below;
        break;
      }
      if (at->parent == root) {
        below = true;
        break;
      }
      at = find(processes, at->parent);
    }
    for (struct process *at = &processes->list[i]; at != NULL && !at->known;) {
      at->known = true;
      at->below = below;
      at = at->parent == root ? NULL : find(processes, at->parent);
    }
  }
}

bool processes_left(struct processes *processes, pid_t root) {
  for (int pass = 0; pass < LEFT_PASSES; pass++) {
    /* Without /proc nothing can be seen, and waiting for it would be for ever. */
    if (!processes_read(processes) && processes->count == 0) return false;
    processes_mark(processes, root);
    for (size_t i = 0; i < processes->count; i++)
      if (processes->list[i].below) return true;
    /* One of those we missed may have had a child that was not there yet. */
    if (processes->missed == 0) break;
  }
  return false;
}

/* A process whose first thread has ended looks like a zombie, while its other threads may do anything. */
static bool dead(const struct process *process) {
  return (process->state == 'Z' || process->state == 'X') && process->threads <= 1;
}

static bool spared(const struct processes *processes, const struct process *process, const pid_t *spare, size_t count) {
  if (count == 0) return false;
  for (size_t steps = 0; process != NULL && steps <= processes->count; steps++) {
    for (size_t i = 0; i < count; i++)
      if (process->pid == spare[i]) return true;
    process = find(processes, process->parent);
  }
  return false;
}

/* Sends a signal to all that are to go; says how many of them live, and how many of those were not stopped. */
static size_t send(struct processes *processes, pid_t root, const pid_t *spare, size_t spare_count, int signal,
                   size_t *running) {
  size_t alive = 0;
  *running = 0;
  processes_read(processes);
  processes_mark(processes, root);
  for (size_t i = 0; i < processes->count; i++) {
    const struct process *process = &processes->list[i];
    if (!process->below || dead(process) || spared(processes, process, spare, spare_count)) continue;
    alive++;
    if (process->state != 'T') ++*running;
    if (signal != SIGSTOP || process->state != 'T') kill(process->pid, signal);
  }
  return alive;
}

size_t processes_kill(struct processes *processes, pid_t root, const pid_t *spare, size_t spare_count) {
  size_t running = 0, before = SIZE_MAX;
  size_t alive = send(processes, root, spare, spare_count, SIGSTOP, &running);
  /* One that cannot be stopped (it waits for a disk, say) must not keep us from killing the others. */
  for (int pass = 0; running > 0 && pass < STOP_PASSES && (running != before || pass < 2); pass++) {
    before = running;
    size_t now = send(processes, root, spare, spare_count, SIGSTOP, &running);
    if (now > alive) alive = now;
  }
  if (alive > 0) send(processes, root, spare, spare_count, SIGKILL, &running);
  return alive;
}
