/* Pseudo terminals. */
#ifndef EFFECT_SANDBOX_TERMINAL_H
#define EFFECT_SANDBOX_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens a pair, the far end belonging to `owner`; false and errno when there is none to be had. */
bool terminal_open(int *near, int *far, uid_t owner, uint16_t rows, uint16_t columns);
void terminal_resize(int near, uint16_t rows, uint16_t columns);

#endif
