/* What the container's control group says about memory. */
#ifndef EFFECT_SANDBOX_CGROUP_H
#define EFFECT_SANDBOX_CGROUP_H

#include <stdint.h>

void cgroup_start(void);
/* How many processes were killed so far because memory ran out; 0 when that is not told. */
uint64_t cgroup_memory_kills(void);
/* In bytes; 0 when there is none. */
uint64_t cgroup_memory_limit(void);

#endif
