/* The beginning of the conversation. */
#ifndef EFFECT_SANDBOX_HANDSHAKE_H
#define EFFECT_SANDBOX_HANDSHAKE_H

#include <stdbool.h>

#include "agent.h"

/* What HELLO says, but for the magic and the versions. */
struct hello {
  char *user, *workdir, *home;
  char **writable, **environment; /* end with NULL */
  size_t writable_count;
  struct seed *seeds;
  size_t seed_count;
};
/* NULL, or what is malformed. Sets `speaks` to whether the host speaks our version; if it does not, that is all. */
const char *hello_decode(struct reader *, struct hello *, bool *speaks);

/* The HELLO frame. Answers it when the sandbox has been prepared. */
void handshake(struct reader *);
/* Whether WELCOME has been sent. */
bool handshake_done(void);

#endif
