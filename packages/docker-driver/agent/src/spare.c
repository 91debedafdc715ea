/*
 * How a supervisor that was started ahead gets its command.
 *
 * It is a fork of the agent, so what is static lies at the same addresses in both. The agent packs a launch, pointers and
 * all, into a static package, and the spare receives it into its own: the pointers are right there as they are.
 */
#include "spare.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is larger costs a fork more easily than this costs memory. */
#define PACKAGE_SIZE (48u * 1024u)
/* The system passes 253 at once. */
#define DESCRIPTORS_MAX 128u

static struct {
  struct launch launch;
  alignas(max_align_t) uint8_t bytes[PACKAGE_SIZE];
} package;

static pid_t spare;
static int agent_end = -1;

static union {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
} ancillary;

/* --- the package ------------------------------------------------------------------------------------------------------- */

struct packing {
  size_t used;
  bool full;
};

/* Room for so many bytes; NULL when there is none left. */
static void *reserve(struct packing *packing, size_t size) {
  size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
  if (packing->full || size > PACKAGE_SIZE || rounded > PACKAGE_SIZE - packing->used) {
    packing->full = true;
    return NULL;
  }
  void *at = package.bytes + packing->used;
  packing->used += rounded;
  return at;
}

static void *pack(struct packing *packing, const void *bytes, size_t size) {
  void *at = reserve(packing, size);
  if (at != NULL && size > 0) memcpy(at, bytes, size);
  return at;
}

static char **pack_list(struct packing *packing, char *const *list) {
  size_t count = 0;
  while (list[count] != NULL) count++;
  char **packed = reserve(packing, (count + 1) * sizeof *packed);
  if (packed == NULL) return NULL;
  for (size_t i = 0; i < count; i++) packed[i] = pack(packing, list[i], strlen(list[i]) + 1);
  packed[count] = NULL;
  return packed;
}

static bool pack_launch(const struct launch *launch, struct packing *packing) {
  package.launch = *launch;
  package.launch.argv = pack_list(packing, launch->argv);
  package.launch.env = pack_list(packing, launch->env);
  package.launch.candidates = pack_list(packing, launch->candidates);
  package.launch.cwd = pack(packing, launch->cwd, strlen(launch->cwd) + 1);
  package.launch.descriptors =
      pack(packing, launch->descriptors, launch->descriptor_count * sizeof *launch->descriptors);
  package.launch.groups = reserve(packing, (launch->group_count + 1) * sizeof *launch->groups);
  if (package.launch.groups != NULL && launch->group_count > 0)
    memcpy(package.launch.groups, launch->groups, launch->group_count * sizeof *launch->groups);
  package.launch.limits = pack(packing, launch->limits, launch->limit_count * sizeof *launch->limits);
  return !packing->full;
}

/* --- the agent's side --------------------------------------------------------------------------------------------------- */

static void forget(void) {
  if (agent_end >= 0) close(agent_end);
  agent_end = -1;
  spare = 0;
}

bool spare_socket(int *waiting) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) return false;
  agent_end = fds[0];
  *waiting = fds[1];
  return true;
}

void spare_made(pid_t pid) {
  if (pid > 0) spare = pid;
  else forget();
}

bool spare_waits(void) { return spare != 0; }

pid_t spare_pid(void) { return spare; }

pid_t spare_use(const struct launch *launch) {
  struct packing packing = {0};
  if (spare == 0 || launch->descriptor_count > DESCRIPTORS_MAX || !pack_launch(launch, &packing)) return -1;
  /* C libraries differ in the types of lengths; this one fits all. */
  size_t size = launch->descriptor_count * sizeof(int);
  struct iovec part = {&package, offsetof(__typeof__(package), bytes) + packing.used};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = (unsigned)CMSG_SPACE(size)};
  ancillary.header.cmsg_level = SOL_SOCKET;
  ancillary.header.cmsg_type = SCM_RIGHTS;
  ancillary.header.cmsg_len = (unsigned)CMSG_LEN(size);
  for (size_t i = 0; i < launch->descriptor_count; i++)
    memcpy(CMSG_DATA(&ancillary.header) + i * sizeof(int), &launch->descriptors[i].from, sizeof(int));
  /* It waits, so there is room; where that is not so, or it has just been killed, there is the usual way. */
  if (sendmsg(agent_end, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return -1;
  pid_t pid = spare;
  forget();
  return pid;
}

bool spare_ended(pid_t pid) {
  if (spare == 0 || pid != spare) return false;
  forget();
  return true;
}

/* --- the spare's side ----------------------------------------------------------------------------------------------------- */

const struct launch *spare_wait(int socket) {
  struct iovec part = {&package, sizeof package};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
  ssize_t got;
  do got = recvmsg(socket, &message, 0);
  while (got < 0 && errno == EINTR);
  /* The agent has ended, or does without us. */
  if (got <= 0) _exit(0);
  size_t count = package.launch.descriptor_count;
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || ancillary.header.cmsg_len != CMSG_LEN(count * sizeof(int)))
    _exit(1);
  for (size_t i = 0; i < count; i++)
    memcpy(&package.launch.descriptors[i].from, CMSG_DATA(&ancillary.header) + i * sizeof(int), sizeof(int));
  return &package.launch;
}
