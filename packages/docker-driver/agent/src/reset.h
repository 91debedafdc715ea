/* Gives the sandbox back as it was in the beginning. */
#ifndef EFFECT_SANDBOX_RESET_H
#define EFFECT_SANDBOX_RESET_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"

void reset_request(uint32_t channel, struct reader *);
/* While a reset goes on, nothing new of a session may start. */
bool resetting(void);
/* A command of a session, and everything that came from it, is no more. */
void reset_command_gone(void);

#endif
