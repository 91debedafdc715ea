/*
 * How a supervisor that was started ahead gets its command. Most of what a command costs is the fork of its supervisor; so
 * one waits, and the next is forked while the command that it got is running.
 */
#ifndef EFFECT_SANDBOX_SPARE_H
#define EFFECT_SANDBOX_SPARE_H

#include <stdbool.h>

#include "supervise.h"

/* A socket between the agent, which keeps its end, and the fork to come, which is given `waiting`. */
bool spare_socket(int *waiting);
/* In the agent, after the fork: there is a spare now. */
void spare_made(pid_t pid);
/* Whether there is one. */
bool spare_waits(void);
/* Hands a launch over to the spare, which is none any more; -1 when there is none, or the launch is too large for it. */
pid_t spare_use(const struct launch *);
/* One that ended before it was used; false when this was none. */
bool spare_ended(pid_t pid);
/* The spare that waits; 0 when there is none. */
pid_t spare_pid(void);

/* In the spare: waits for its launch on the socket. Only system calls, as between any fork and exec. Ends with the agent. */
const struct launch *spare_wait(int socket);

#endif
