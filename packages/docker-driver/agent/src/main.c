/* The agent: process 1 of a container, and the host's hands in there. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "channels.h"
#include "commands.h"
#include "direct.h"
#include "frames.h"
#include "handshake.h"
#include "loop.h"
#include "memory.h"
#include "queue.h"

#ifndef BUILD
#define BUILD "development"
#endif

enum { PIPE_SIZE = 1024 * 1024 };

static struct frames frames;
static struct source input, lease, signals;

static void handle(const struct frame *frame) {
  struct reader reader = {frame->payload, frame->payload + frame->length, false};
  switch (frame->type) {
    case FRAME_HELLO:
      if (frame->channel != 0 || frame->detail != 0) malformed("greeting on a channel");
      handshake(&reader);
      break;
    case FRAME_PING:
      if (frame->channel != 0 || frame->detail != 0 || frame->length != 8) malformed("wrong ping");
      send_urgent(FRAME_PONG, frame->payload, frame->length);
      break;
    default:
      if (!handshake_done()) malformed("frame of type %u before the handshake", frame->type);
      channels_frame(frame);
  }
}

static void input_ready(struct source *source, uint32_t events) {
  /* A host that only asks and never listens is made to wait. */
  if (queue_size() >= QUEUE_STOP) {
    queue_flush();
    if (queue_size() >= QUEUE_STOP) {
      if ((events & EPOLLHUP) != 0) leave(0);
      queue_pause(source);
      return;
    }
  }
  size_t room;
  uint8_t *bytes = frames_room(&frames, &room);
  ssize_t got = read(source->fd, bytes, room);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  /* The stream is the lease. */
  if (got <= 0) leave(0);
  frames_filled(&frames, (size_t)got);
  struct frame frame;
  while (frames_next(&frames, &frame)) handle(&frame);
}

/* Standard input, when the conversation goes over a socket: it says nothing, but it is the lease all the same. */
static void lease_ready(struct source *source, uint32_t events) {
  uint8_t byte;
  (void)events;
  ssize_t got = read(source->fd, &byte, sizeof byte);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) malformed("something on standard input, beside the socket");
  leave(0);
}

/*
 * The engine stops the container with a signal, which comes from outside and so from nobody's number. A command of root
 * can make a signal look like that (by first filling the queue of root's signals): where there was one, the engine has to
 * kill us.
 */
static bool comes_from_outside(const struct signalfd_siginfo *info) {
  return getpid() != 1 || (info->ssi_pid == 0 && info->ssi_code == SI_USER && !commands_of_root());
}

static void signals_ready(struct source *source, uint32_t events) {
  struct signalfd_siginfo info;
  bool children = false;
  (void)events;
  while (read(source->fd, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) children = true;
    else if (comes_from_outside(&info)) leave(0);
  }
  if (children) commands_reap();
}

static void watch_signals(void) {
  sigset_t all, watched;
  sigfillset(&all);
  /* Commands start with what is set here: everything as it is by default, and SIGPIPE is only blocked. */
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigprocmask(SIG_SETMASK, &all, NULL);
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  sigaddset(&watched, SIGTERM);
  sigaddset(&watched, SIGINT);
  signals = (struct source){.fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK), .ready = signals_ready};
  if (signals.fd < 0) die("cannot watch for signals");
  loop_watch(&signals, EPOLLIN);
}

/* Descriptors 0 to 2 have to be taken, so that nothing else gets their numbers. */
static void fill_descriptors(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  while (fd >= 0 && fd <= 2);
  if (fd > 2) close(fd);
}

static void raise_limit(struct rlimit *before) {
  if (getrlimit(RLIMIT_NOFILE, before) != 0) die("cannot read limits");
  struct rlimit most = {before->rlim_max, before->rlim_max};
  setrlimit(RLIMIT_NOFILE, &most);
}

static void never_wait(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static int usage(void) {
  fputs("usage: agent [--version | --socket <path>]\n", stderr);
  return 64;
}

int main(int argc, char **argv) {
  const char *socket_path = NULL;
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("effect-sandbox agent %s, protocol %d\n", BUILD, PROTOCOL_VERSION);
    return 0;
  }
  if (argc == 3 && strcmp(argv[1], "--socket") == 0) socket_path = argv[2];
  else if (argc != 1) return usage();
  struct rlimit descriptors;
  fill_descriptors();
  int refused = socket_path == NULL ? 0 : direct_take(socket_path, &lease.fd);
  raise_limit(&descriptors);
  umask(022);
  if (chdir("/") != 0) die("cannot enter /");
  prctl(PR_SET_DUMPABLE, 0);

  loop_start();
  watch_signals();
  queue_start(STDOUT_FILENO);
  commands_start(&descriptors);
  /* Larger pipes, where they may be: fewer turns between us and the engine. */
  fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
  fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
  never_wait(STDIN_FILENO);
  never_wait(STDOUT_FILENO);
  input = (struct source){.fd = STDIN_FILENO, .ready = input_ready};
  loop_watch(&input, EPOLLIN);
  if (refused != 0) {
    uint32_t error = htole32((uint32_t)refused);
    send_urgent(FRAME_INDIRECT, (const uint8_t *)&error, sizeof error);
  } else if (socket_path != NULL) {
    never_wait(lease.fd);
    lease.ready = lease_ready;
    loop_watch(&lease, EPOLLIN);
  }
  loop_run();
}
