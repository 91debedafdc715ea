/* The beginning of the conversation: HELLO and WELCOME. */
#include "handshake.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "memory.h"
#include "queue.h"
#include "supervise.h"

#ifndef BUILD
#define BUILD "development"
#endif
#define THREAD_STACK (512u * 1024u)

struct settings settings;

static char *passwd_home;
static bool begun, done;

bool handshake_done(void) { return done; }

/* How many entries of at least `size` bytes follow. */
static size_t read_count(struct reader *reader, size_t size) {
  size_t count = read_u32(reader);
  if (reader->bad || count > (size_t)(reader->end - reader->at) / size) {
    reader->bad = true;
    return 0;
  }
  return count;
}

static char **read_list(struct reader *reader, size_t *count) {
  *count = read_count(reader, 4);
  char **list = allocate((*count + 1) * sizeof *list);
  for (size_t i = 0; i < *count; i++) list[i] = read_str(reader);
  list[*count] = NULL;
  return list;
}

const char *hello_decode(struct reader *reader, struct hello *hello, bool *speaks) {
  size_t environment_count;
  char *magic = read_str(reader);
  bool right = strcmp(magic, PROTOCOL_MAGIC) == 0;
  free(magic);
  uint16_t lowest = read_u16(reader), highest = read_u16(reader);
  *speaks = true;
  if (!right || reader->bad || lowest > highest) return "greeting";
  *speaks = lowest <= PROTOCOL_VERSION && PROTOCOL_VERSION <= highest;
  if (!*speaks) return NULL;
  hello->user = read_str(reader);
  hello->workdir = read_str(reader);
  hello->home = read_str(reader);
  hello->writable = read_list(reader, &hello->writable_count);
  hello->seed_count = read_count(reader, 8);
  hello->seeds = allocate(hello->seed_count * sizeof *hello->seeds);
  for (size_t i = 0; i < hello->seed_count; i++) {
    hello->seeds[i].from = read_str(reader);
    hello->seeds[i].to = read_str(reader);
  }
  hello->environment = read_list(reader, &environment_count);
  if (!read_done(reader)) return "fields";
  bool absolute = *hello->workdir == '/' && (*hello->home == 0 || *hello->home == '/');
  for (size_t i = 0; i < hello->writable_count; i++) absolute = absolute && *hello->writable[i] == '/';
  for (size_t i = 0; i < hello->seed_count; i++)
    absolute = absolute && *hello->seeds[i].from == '/' && *hello->seeds[i].to == '/';
  return absolute ? NULL : "paths";
}

static void prepared(void *argument) {
  char *problem = argument;
  if (problem != NULL) fatal(FATAL_PREPARATION, problem);
  uint16_t version = htole16(PROTOCOL_VERSION);
  uint32_t numbers[3] = {htole32(settings.uid), htole32(settings.gid), htole32((uint32_t)getpid())};
  uint32_t build_length = htole32((uint32_t)strlen(BUILD)), home_length = htole32((uint32_t)strlen(passwd_home));
  done = true;
  loop_later(supervise_ahead);
  send_frame(FRAME_WELCOME, 0, 0,
             (struct part[]){
                 {&version, sizeof version},
                 {&build_length, sizeof build_length},
                 {BUILD, strlen(BUILD)},
                 {numbers, 8},
                 {&home_length, sizeof home_length},
                 {passwd_home, strlen(passwd_home)},
                 {numbers + 2, 4},
             },
             7);
}

/* Copying seeds can take its time, and meanwhile the end of the input has to be noticed. */
static void *prepare(void *argument) {
  (void)argument;
  on_main(prepared, places_prepare());
  return NULL;
}

void handshake(struct reader *reader) {
  if (begun) malformed("a second greeting");
  begun = true;
  struct hello hello;
  bool speaks;
  const char *problem = hello_decode(reader, &hello, &speaks);
  if (problem != NULL) malformed("wrong %s in the greeting", problem);
  if (!speaks) fatal(FATAL_VERSION, "this agent speaks version 1 of the protocol only");
  struct user user;
  if (!user_find(hello.user, &user)) {
    char *message = text("there is no user \"%s\"", hello.user);
    fatal(FATAL_PREPARATION, message);
  }
  if (*hello.home == 0) {
    free(hello.home);
    hello.home = NULL;
  }
  free(hello.user);
  passwd_home = user.home;
  settings = (struct settings){
      .uid = user.uid,
      .gid = user.gid,
      .groups = user.groups,
      .group_count = user.group_count,
      .workdir = hello.workdir,
      .home = hello.home,
      .writable = hello.writable,
      .writable_count = hello.writable_count,
      .seeds = hello.seeds,
      .seed_count = hello.seed_count,
      .environment = hello.environment,
  };
  files_start();
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, THREAD_STACK);
  int error = pthread_create(&thread, &attributes, prepare, NULL);
  pthread_attr_destroy(&attributes);
  if (error != 0) fatal(FATAL_PREPARATION, "cannot start a thread");
}
