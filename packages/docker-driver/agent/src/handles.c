/*
 * Open files by number. A number says in which slot the file is and how often that slot was used before, so that a handle
 * that was closed is never that of a file that was opened later.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "files.h"
#include "memory.h"

enum { INDEX_BITS = 12, MOST = 1 << INDEX_BITS, GENERATIONS = 1 << (32 - INDEX_BITS) };

struct slot {
  int fd;
  uint32_t generation;
  unsigned users; /* calls that go on */
  bool open, sandbox;
};

static struct {
  pthread_mutex_t lock;
  struct slot *slots;
  uint32_t count;
  uint32_t next; /* where to look for a free slot first: numbers return late */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_free(const struct slot *slot) { return !slot->open && slot->users == 0; }

/* With the lock held; MOST when all are in use. */
static uint32_t find_free(void) {
  for (uint32_t step = 0; step < table.count; step++) {
    uint32_t index = (table.next + step) % table.count;
    if (is_free(&table.slots[index])) return index;
  }
  if (table.count == MOST) return MOST;
  uint32_t index = table.count;
  table.count = index == 0 ? 16 : index * 2;
  table.slots = resize_array(table.slots, table.count, sizeof *table.slots);
  for (uint32_t fresh = index; fresh < table.count; fresh++) table.slots[fresh] = (struct slot){.fd = -1};
  return index;
}

uint32_t handle_make(int fd, bool sandbox) {
  uint32_t handle = 0;
  pthread_mutex_lock(&table.lock);
  uint32_t index = find_free();
  if (index < MOST) {
    struct slot *slot = &table.slots[index];
    uint32_t generation = slot->generation % (GENERATIONS - 1) + 1;
    *slot = (struct slot){.fd = fd, .generation = generation, .open = true, .sandbox = sandbox};
    handle = generation << INDEX_BITS | index;
    table.next = index + 1;
  }
  pthread_mutex_unlock(&table.lock);
  return handle;
}

/* With the lock held; NULL when there is no such handle any more. */
static struct slot *find(uint32_t handle) {
  uint32_t index = handle & (MOST - 1);
  if (index >= table.count) return NULL;
  struct slot *slot = &table.slots[index];
  return slot->generation == handle >> INDEX_BITS ? slot : NULL;
}

int handle_use(uint32_t handle) {
  pthread_mutex_lock(&table.lock);
  struct slot *slot = find(handle);
  int fd = -1;
  if (slot != NULL && slot->open) {
    slot->users++;
    fd = slot->fd;
  }
  pthread_mutex_unlock(&table.lock);
  return fd;
}

/* With the lock held. What is to be closed, once nobody uses it any more; else -1. */
static int unused(struct slot *slot) {
  if (!is_free(slot)) return -1;
  int fd = slot->fd;
  slot->fd = -1;
  return fd;
}

void handle_release(uint32_t handle) {
  pthread_mutex_lock(&table.lock);
  struct slot *slot = find(handle);
  int fd = -1;
  if (slot != NULL) {
    slot->users--;
    fd = unused(slot);
  }
  pthread_mutex_unlock(&table.lock);
  if (fd >= 0) close(fd);
}

bool handle_close(uint32_t handle) {
  pthread_mutex_lock(&table.lock);
  struct slot *slot = find(handle);
  bool found = slot != NULL && slot->open;
  int fd = -1;
  if (found) {
    slot->open = false;
    fd = unused(slot);
  }
  pthread_mutex_unlock(&table.lock);
  if (fd >= 0) close(fd);
  return found;
}

void handles_close_sessions(void) {
  for (uint32_t index = 0;; index++) {
    int fd = -1;
    pthread_mutex_lock(&table.lock);
    bool end = index >= table.count;
    if (!end && table.slots[index].open && !table.slots[index].sandbox) {
      table.slots[index].open = false;
      fd = unused(&table.slots[index]);
    }
    pthread_mutex_unlock(&table.lock);
    if (end) return;
    if (fd >= 0) close(fd);
  }
}
