/* What the container's control group says about memory. */
#include "cgroup.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No limit is a number near the largest in version 1. */
#define UNLIMITED (1ull << 60)

static int kills_fd = -1, limit_fd = -1;

void cgroup_start(void) {
  kills_fd = open("/sys/fs/cgroup/memory.events", O_RDONLY | O_CLOEXEC);
  if (kills_fd < 0) kills_fd = open("/sys/fs/cgroup/memory/memory.oom_control", O_RDONLY | O_CLOEXEC);
  limit_fd = open("/sys/fs/cgroup/memory.max", O_RDONLY | O_CLOEXEC);
  if (limit_fd < 0) limit_fd = open("/sys/fs/cgroup/memory/memory.limit_in_bytes", O_RDONLY | O_CLOEXEC);
}

static const char *content(int fd, char *bytes, size_t size) {
  ssize_t got = fd < 0 ? -1 : pread(fd, bytes, size - 1, 0);
  bytes[got < 0 ? 0 : got] = 0;
  return bytes;
}

uint64_t cgroup_memory_kills(void) {
  char bytes[512];
  const char *at = strstr(content(kills_fd, bytes, sizeof bytes), "oom_kill ");
  return at == NULL ? 0 : strtoull(at + strlen("oom_kill "), NULL, 10);
}

uint64_t cgroup_memory_limit(void) {
  char bytes[64];
  uint64_t limit = strtoull(content(limit_fd, bytes, sizeof bytes), NULL, 10);
  return limit >= UNLIMITED ? 0 : limit;
}
