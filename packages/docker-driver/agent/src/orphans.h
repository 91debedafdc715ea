/* Processes that a supervisor has left behind: it was killed, and they have become children of the agent. */
#ifndef EFFECT_SANDBOX_ORPHANS_H
#define EFFECT_SANDBOX_ORPHANS_H

#include <stddef.h>

/* Kills them. Says how many there were; -1 when one cannot tell. */
long orphans_kill(void);
/* The processes that a reset should have ended, in words (malloc). */
char *orphans_describe(void);

#endif
