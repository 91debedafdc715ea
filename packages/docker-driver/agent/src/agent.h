/*
 * What the parts of the agent know of each other.
 *
 * One thread, the main one, runs the loop: it reads frames, starts and reaps commands, copies streams, and never blocks.
 * Operations on files run on worker threads, because files can block. The two meet in the functions below.
 */
#ifndef EFFECT_SANDBOX_AGENT_H
#define EFFECT_SANDBOX_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

/* --- what the handshake has said (main.c); not changed afterwards ------------------------------------------------- */

struct seed { char *from, *to; };

struct settings {
  uid_t uid;
  gid_t gid;
  gid_t *groups; /* additional groups of the user */
  size_t group_count;
  char *workdir;
  char *home; /* NULL when there is none */
  char **writable;
  size_t writable_count;
  struct seed *seeds;
  size_t seed_count;
  char **environment; /* ends with NULL */
};
extern struct settings settings;

/* --- sending (frames.c); from any thread ---------------------------------------------------------------------------- */

struct part { const void *bytes; size_t length; };

/*
 * So much more than it had the host may send on a stream that can take more than comes: on a slow way more has to be on
 * the way for the stream to be fast. Twice as much each time, up to this.
 */
#define WINDOW_MAX (2u * 1024u * 1024u)
static inline uint32_t window_growth(uint32_t window) {
  return window < WINDOW_MAX - window ? window : WINDOW_MAX - window;
}

/* Queues one frame. Takes a copy of the payload. Never blocks, never fails (out of memory ends the agent). */
void send_frame(uint8_t type, uint8_t detail, uint32_t channel, const struct part *parts, size_t count);

/*
 * A pipe from whoever has bytes to the queue: they are moved on from there, and never copied. Kept by the frames that wait
 * to be sent, and by who made it.
 */
struct conduit;
/* NULL when there can be none. `writer` is the caller's to close. */
struct conduit *conduit_make(int *writer);
void conduit_release(struct conduit *);
/* Queues one frame whose payload is what comes next in a conduit, where all of it is already. */
void send_from(struct conduit *, uint8_t type, uint8_t detail, uint32_t channel, size_t length);

/* The final frame of a failed channel. `message` may be NULL. */
void send_error(uint32_t channel, int error, uint8_t stage, const char *message);

/* Blocks a worker while too much waits to be sent; false when the agent is about to end. Never called by the main thread. */
bool wait_for_room(void);

/* --- decoding payloads (frames.c) ------------------------------------------------------------------------------------- */

/* A cursor over a payload. After the first read beyond its end `bad` is set and everything reads as 0 or empty. */
struct reader { const uint8_t *at, *end; bool bad; };
uint8_t read_u8(struct reader *);
uint16_t read_u16(struct reader *);
uint32_t read_u32(struct reader *);
uint64_t read_u64(struct reader *);
int64_t read_i64(struct reader *);
/* A str as a C string of its own (malloc); NUL inside makes the reader bad. Never NULL. */
char *read_str(struct reader *);
/* Whether everything was there and nothing is left over. */
bool read_done(const struct reader *);

/* Says that the host's last frame was malformed, and ends the agent. */
_Noreturn void malformed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- files (files.c, workers.c, watch.c); called by the main thread ------------------------------------------------- */

/* Before the first request. */
void files_start(void);
/* A FILE frame; decodes the payload at once (and may call `malformed`), then works on a thread. */
void files_request(uint32_t channel, uint8_t detail, const uint8_t *payload, size_t length);
/* Whether the channel belongs to an operation that goes on; used to tell whose a frame is. */
bool files_owns(uint32_t channel);
/* The main thread has not checked these against credit; the files' side does. */
void files_data(uint32_t channel, uint8_t stream, const uint8_t *bytes, size_t length);
void files_end(uint32_t channel, uint8_t stream);
void files_credit(uint32_t channel, uint8_t stream, uint32_t more);
void files_close(uint32_t channel);

/*
 * Prepares the sandbox, in the handshake: workdir, home, owners, seeds. NULL, or what went wrong (malloc).
 */
char *places_prepare(void);

/*
 * The files' part of a reset, on a worker: abandons the sessions' operations and closes their handles, empties the
 * writable places, restores them, and looks again. Calls `done` on the worker with NULL or what is left (malloc).
 * Nothing of a session runs any more when it is called.
 */
void places_reset(void (*done)(char *problem, void *argument), void *argument);

/*
 * Says that something acts for the sandbox, so that the next reset looks for what is new in `home`. From any thread: for
 * every command of the sandbox, and before a reset while one of them lives.
 */
void places_sandbox_acts(void);

/* --- users (users.c) --------------------------------------------------------------------------------------------------- */

struct user { uid_t uid; gid_t gid; gid_t *groups; size_t group_count; char *home; };
/* Looks a user up as HELLO says; false when there is none of that name. */
bool user_find(const char *spec, struct user *found);
void user_free(struct user *);

/* --- for worker threads (main.c) ------------------------------------------------------------------------------------- */

/* Runs `call` on the main thread, soon. */
void on_main(void (*call)(void *argument), void *argument);

#endif
