/* TCP connections to and from what runs inside. */
#ifndef EFFECT_SANDBOX_CONNECTIONS_H
#define EFFECT_SANDBOX_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"

void connect_request(uint32_t channel, bool sandbox, struct reader *);
void listen_request(uint32_t channel, bool sandbox, struct reader *);
void accept_request(uint32_t channel, bool sandbox, struct reader *);
/* Ends those of sessions, each with CLOSED. */
void connections_reset(void);

#endif
