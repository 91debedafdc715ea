/* Pseudo terminals. */
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

/* C libraries do not agree on the type of a request. */
static long request(int fd, unsigned number, uintptr_t argument) { return syscall(SYS_ioctl, fd, number, argument); }

static int open_far(int near) {
  int number;
  int far = (int)request(near, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (far >= 0 || request(near, TIOCGPTN, (uintptr_t)&number) != 0) return far;
  char path[32];
  snprintf(path, sizeof path, "/dev/pts/%d", number);
  return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

bool terminal_open(int *near, int *far, uid_t owner, uint16_t rows, uint16_t columns) {
  int unlock = 0;
  *near = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*near < 0) return false;
  *far = request(*near, TIOCSPTLCK, (uintptr_t)&unlock) == 0 ? open_far(*near) : -1;
  if (*far < 0) {
    int error = errno;
    close(*near);
    errno = error;
    return false;
  }
  /* So that the command can open its terminal by name; where this is not allowed it has it all the same. */
  int owned = fchown(*far, owner, (gid_t)-1);
  (void)owned;
  terminal_resize(*near, rows, columns);
  return true;
}

void terminal_resize(int near, uint16_t rows, uint16_t columns) {
  struct winsize size = {.ws_row = rows, .ws_col = columns};
  request(near, TIOCSWINSZ, (uintptr_t)&size);
}
