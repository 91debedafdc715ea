/* The short way to the host. */
#include "direct.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKET_BUFFER = 1024 * 1024 };

/* A socket that is connected, or -1. It never waits: whoever does not listen at once is not the host. */
static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int direct_take(const char *path, int *lease) {
  int fd = connect_to(path);
  if (fd < 0) return errno;
  /* As much of it as the system grants. */
  int size = SOCKET_BUFFER;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  *lease = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  /* Standard output stays open, too: the engine takes its end for that of standard input. */
  int output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  int error = *lease < 0 || output < 0 ? errno : 0;
  if (error == 0) {
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
  } else {
    if (*lease >= 0) close(*lease);
    if (output >= 0) close(output);
  }
  close(fd);
  return error;
}
