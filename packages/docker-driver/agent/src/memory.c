/* Memory that is always there: the agent ends when there is none, and with it everything inside. */
#include "memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void die(const char *what) {
  dprintf(STDERR_FILENO, "agent: %s: %s\n", what, strerror(errno));
  _exit(1);
}

void *allocate(size_t size) {
  void *memory = malloc(size == 0 ? 1 : size);
  if (memory == NULL) die("no memory");
  return memory;
}

void *allocate_zeroed(size_t size) {
  void *memory = calloc(1, size == 0 ? 1 : size);
  if (memory == NULL) die("no memory");
  return memory;
}

void *resize_array(void *memory, size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) die("no memory");
  void *resized = realloc(memory, count * size == 0 ? 1 : count * size);
  if (resized == NULL) die("no memory");
  return resized;
}

char *text(const char *format, ...) {
  va_list list;
  char *result = NULL;
  va_start(list, format);
  if (vasprintf(&result, format, list) < 0) die("no memory");
  va_end(list);
  return result;
}
