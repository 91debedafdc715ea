/* Memory that is always there: the agent ends when there is none, and with it everything inside. */
#ifndef EFFECT_SANDBOX_MEMORY_H
#define EFFECT_SANDBOX_MEMORY_H

#include <stddef.h>

/* Writes a line to standard error and ends the agent. */
_Noreturn void die(const char *what);

void *allocate(size_t size);
void *allocate_zeroed(size_t size);
void *resize_array(void *memory, size_t count, size_t size);

/* A string of its own (malloc), as printf would write it. */
char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
