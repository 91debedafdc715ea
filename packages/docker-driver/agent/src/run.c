/* Commands: RUN channels, and the supervisors behind them. */
#include "commands.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "channels.h"
#include "cgroup.h"
#include "loop.h"
#include "memory.h"
#include "orphans.h"
#include "queue.h"
#include "reset.h"
#include "spare.h"
#include "streams.h"
#include "supervise.h"
#include "terminal.h"

/* How long a supervisor may take to kill what it has, before it is killed itself. */
#define KILL_PATIENCE 2000
#define DEFAULT_PATH "/usr/local/bin:/bin:/usr/bin"
#define RUN_FLAGS (RUN_TERMINAL | RUN_STDIN | RUN_SANDBOX | RUN_NO_STDOUT | RUN_NO_STDERR)

enum direction { DIRECTION_IN = 1, DIRECTION_OUT = 2 };

struct run_stream {
  struct output output;
  struct input input;
  uint8_t index, directions;
};

/* A supervisor. Outlives its channel when the host lets go of what runs. */
struct command {
  pid_t supervisor;
  pid_t pid; /* 0 until it has been started */
  bool sandbox;
  bool exited;
  bool gone; /* and its process group is empty */
  bool killed; /* by us, at the host's wish */
  bool ordered; /* to kill everything and end */
  uint64_t memory_kills; /* how many there had been before */
  struct run_channel *channel;
  struct timer overdue;
  struct command *previous, *next;
};

struct run_channel {
  struct channel channel;
  struct command *command; /* NULL when nothing of it is left */
  bool closing; /* CLOSED is due when nothing is left */
  struct run_stream *streams;
  size_t stream_count;
  int terminal; /* -1 when there is none */
};

static struct command *commands;
static size_t session_commands;
static bool root_commands;
static struct source reports;
static int report_writer = -1;
static int null_fd = -1;

/* --- what RUN says ------------------------------------------------------------------------------------------------------ */

static char **read_list(struct reader *reader, size_t *count) {
  *count = read_u32(reader);
  /* Each takes 4 bytes at least: a list cannot be longer than what is left says. */
  if (reader->bad || *count > (size_t)(reader->end - reader->at) / 4) {
    reader->bad = true;
    *count = 0;
  }
  char **list = allocate((*count + 1) * sizeof *list);
  for (size_t i = 0; i < *count; i++) list[i] = read_str(reader);
  list[*count] = NULL;
  return list;
}

static size_t read_count(struct reader *reader, size_t size) {
  size_t count = read_u32(reader);
  if (reader->bad || count > (size_t)(reader->end - reader->at) / size) {
    reader->bad = true;
    return 0;
  }
  return count;
}

const char *run_decode(struct reader *reader, struct run_fields *fields) {
  bool seen[256] = {false};
  size_t env_count;
  const char *problem = NULL;
  fields->flags = read_u8(reader);
  fields->user = read_str(reader);
  fields->cwd = read_str(reader);
  fields->argv = read_list(reader, &fields->argc);
  fields->env = read_list(reader, &env_count);
  fields->descriptor_count = read_count(reader, 5);
  fields->descriptors = allocate(fields->descriptor_count * sizeof *fields->descriptors);
  for (size_t i = 0; i < fields->descriptor_count; i++) {
    struct run_descriptor *descriptor = &fields->descriptors[i];
    descriptor->fd = read_u32(reader);
    descriptor->direction = read_u8(reader);
    if (descriptor->fd < 3 || descriptor->fd > 255 || seen[descriptor->fd]) problem = "descriptors";
    else seen[descriptor->fd] = true;
    if (descriptor->direction < DIRECTION_IN || descriptor->direction > (DIRECTION_IN | DIRECTION_OUT))
      problem = "descriptors";
  }
  fields->limit_count = read_count(reader, 17);
  fields->limits = allocate(fields->limit_count * sizeof *fields->limits);
  for (size_t i = 0; i < fields->limit_count; i++) {
    fields->limits[i].resource = read_u8(reader);
    fields->limits[i].soft = read_u64(reader);
    fields->limits[i].hard = read_u64(reader);
  }
  fields->rows = read_u16(reader);
  fields->columns = read_u16(reader);
  if (!read_done(reader)) return "fields";
  if (fields->argc == 0) return "arguments";
  if ((fields->flags & ~RUN_FLAGS) != 0) return "flags";
  return problem;
}

static void free_list(char **list) {
  for (char **entry = list; *entry != NULL; entry++) free(*entry);
  free(list);
}

void run_free(struct run_fields *fields) {
  free(fields->user);
  free(fields->cwd);
  free_list(fields->argv);
  free_list(fields->env);
  free(fields->descriptors);
  free(fields->limits);
}

/* What execvp would try. */
static char **find_candidates(const char *program, char **env) {
  const char *path = DEFAULT_PATH;
  for (; *env != NULL; env++)
    if (strncmp(*env, "PATH=", 5) == 0) {
      path = *env + 5;
      break;
    }
  char **list = allocate(2 * sizeof *list);
  size_t count = 0;
  if (strchr(program, '/') != NULL) {
    list[count++] = text("%s", program);
  } else if (*program != 0) {
    size_t most = 1;
    for (const char *at = path; *at != 0; at++) most += *at == ':';
    list = resize_array(list, most + 1, sizeof *list);
    for (const char *at = path;; at++) {
      size_t length = strcspn(at, ":");
      list[count++] = length == 0 ? text("./%s", program) : text("%.*s/%s", (int)length, at, program);
      at += length;
      if (*at == 0) break;
    }
  }
  list[count] = NULL;
  return list;
}

/* --- the end of a channel ------------------------------------------------------------------------------------------------ */

static void let_go(struct run_channel *run) {
  for (size_t i = 0; i < run->stream_count; i++) {
    output_close(&run->streams[i].output);
    input_close(&run->streams[i].input);
  }
  if (run->terminal >= 0) close(run->terminal);
  run->terminal = -1;
}

/* All but the final frame, with which the channel itself is removed. */
static void end_channel(struct run_channel *run) {
  let_go(run);
  if (run->command != NULL) run->command->channel = NULL;
  if (run->streams != NULL) loop_bury(run->streams);
}

static void close_channel(struct run_channel *run) {
  end_channel(run);
  channel_closed(&run->channel);
}

static void fail_channel(struct run_channel *run, int error, uint8_t stage, const char *message) {
  /* Where the host has closed the channel already it need not know what became of the start, or we were the cause. */
  if (run->closing) {
    close_channel(run);
    return;
  }
  end_channel(run);
  send_error(run->channel.number, error, stage, message);
  channel_remove(&run->channel);
}

static void overdue(struct timer *timer) {
  struct command *command = (struct command *)((char *)timer - offsetof(struct command, overdue));
  kill(command->supervisor, SIGKILL);
}

static void order_kill(struct command *command) {
  command->killed = true;
  if (command->ordered) return;
  command->ordered = true;
  supervisor_kill(command->supervisor);
  /* One that something inside holds up would keep us waiting for ever. What it leaves falls to us. */
  command->overdue.call = overdue;
  timer_set(&command->overdue, KILL_PATIENCE);
}

/* --- frames of the host --------------------------------------------------------------------------------------------------- */

static struct run_channel *run_of(struct channel *channel) { return (struct run_channel *)channel; }

static struct run_stream *stream_of(struct run_channel *run, uint8_t index, uint8_t direction) {
  for (size_t i = 0; i < run->stream_count; i++)
    if (run->streams[i].index == index && (run->streams[i].directions & direction) != 0) return &run->streams[i];
  malformed("channel %u has no such stream %u", run->channel.number, index);
}

static void run_data(struct channel *channel, uint8_t stream, const uint8_t *bytes, size_t length) {
  struct run_channel *run = run_of(channel);
  if (!run->closing) input_data(&stream_of(run, stream, DIRECTION_IN)->input, bytes, length);
}

static void run_end(struct channel *channel, uint8_t stream) {
  struct run_channel *run = run_of(channel);
  if (!run->closing) input_end(&stream_of(run, stream, DIRECTION_IN)->input);
}

static void run_credit(struct channel *channel, uint8_t stream, uint32_t more) {
  struct run_channel *run = run_of(channel);
  if (!run->closing) output_credit(&stream_of(run, stream, DIRECTION_OUT)->output, more);
}

static void run_signal(struct channel *channel, uint8_t target, uint32_t signal) {
  struct command *command = run_of(channel)->command;
  if (command == NULL) return;
  if (signal == SIGKILL) command->killed = true;
  supervisor_signal(command->supervisor, target, signal);
}

static void run_resize(struct channel *channel, uint16_t rows, uint16_t columns) {
  struct run_channel *run = run_of(channel);
  if (run->terminal >= 0) terminal_resize(run->terminal, rows, columns);
}

static void run_close(struct channel *channel, bool kill_all) {
  struct run_channel *run = run_of(channel);
  let_go(run);
  if (kill_all && run->command != NULL) {
    run->closing = true;
    order_kill(run->command);
    return;
  }
  if (!run->closing) close_channel(run);
}

static const struct channel_kind run_kind = {
    .data = run_data,
    .end = run_end,
    .credit = run_credit,
    .signal = run_signal,
    .resize = run_resize,
    .close = run_close,
};

/* --- what supervisors say ------------------------------------------------------------------------------------------------- */

static void send_exit(struct command *command, int status, uint64_t user, uint64_t system, uint64_t memory) {
  command->exited = true;
  if (command->channel == NULL) return;
  uint8_t kind = EXIT_CODE;
  uint32_t value = (uint32_t)WEXITSTATUS(status);
  uint64_t limit = 0;
  if (WIFSIGNALED(status)) {
    kind = EXIT_SIGNAL;
    value = (uint32_t)WTERMSIG(status);
    if (value == SIGKILL && !command->killed && cgroup_memory_kills() > command->memory_kills) {
      kind = EXIT_MEMORY;
      limit = cgroup_memory_limit();
    }
  }
  uint8_t payload[37];
  uint64_t numbers[4] = {htole64(user), htole64(system), htole64(memory), htole64(limit)};
  value = htole32(value);
  payload[0] = kind;
  memcpy(payload + 1, &value, 4);
  memcpy(payload + 5, numbers, sizeof numbers);
  send_frame(FRAME_EXIT, 0, command->channel->channel.number, &(struct part){payload, sizeof payload}, 1);
}

static void send_gone(struct command *command) {
  if (command->gone || command->pid == 0) return;
  command->gone = true;
  if (command->channel != NULL) send_frame(FRAME_GONE, 0, command->channel->channel.number, NULL, 0);
}

static void report(const struct report *report) {
  struct command *command = commands;
  while (command != NULL && command->supervisor != report->supervisor) command = command->next;
  if (command == NULL) return;
  struct run_channel *run = command->channel;
  switch (report->kind) {
    case REPORT_STARTED:
      command->pid = report->pid;
      if (run != NULL) {
        uint32_t pid = htole32((uint32_t)report->pid);
        send_frame(FRAME_STARTED, 0, run->channel.number, &(struct part){&pid, sizeof pid}, 1);
        for (size_t i = 0; i < run->stream_count; i++) output_copy(&run->streams[i].output);
      }
      break;
    case REPORT_FAILED:
      command->exited = true;
      if (run != NULL) fail_channel(run, report->error, report->stage, NULL);
      break;
    case REPORT_GONE:
      send_gone(command);
      break;
    default:
      /* In one message with the exit, where it can be. */
      if (run != NULL)
        for (size_t i = 0; i < run->stream_count; i++) output_finish(&run->streams[i].output);
      send_exit(command, report->status, report->user_time, report->system_time, report->memory);
      if (report->gone) send_gone(command);
      break;
  }
}

static void read_reports(struct source *source, uint32_t events) {
  struct report list[32];
  (void)events;
  for (;;) {
    ssize_t got = read(source->fd, list, sizeof list);
    if (got <= 0) return;
    /* Each was written at once, and is not longer than a pipe keeps together. */
    size_t count = (size_t)got / sizeof *list;
    for (size_t i = 0; i < count; i++) report(&list[i]);
    if (count < sizeof list / sizeof *list) return;
  }
}

static void supervisor_gone(struct command *command, bool lost) {
  timer_clear(&command->overdue);
  if (!command->exited) {
    if (command->pid == 0 && command->channel != NULL) {
      fail_channel(command->channel, ECHILD, STAGE_START, "the supervisor was killed");
    } else {
      /* What it held is killed with it, as far as we can: see orphans_kill. */
      command->killed = true;
      send_exit(command, SIGKILL, 0, 0, 0);
    }
  }
  send_gone(command);
  if (lost) orphans_kill();
  if (command->channel != NULL) {
    struct run_channel *run = command->channel;
    run->command = NULL;
    if (run->closing) close_channel(run);
  }
  if (command->previous == NULL) commands = command->next;
  else command->previous->next = command->next;
  if (command->next != NULL) command->next->previous = command->previous;
  bool sandbox = command->sandbox;
  if (!sandbox) session_commands--;
  loop_bury(command);
  if (!sandbox) reset_command_gone();
}

void commands_reap(void) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    struct command *command = commands;
    while (command != NULL && command->supervisor != pid) command = command->next;
    /* Else it is an orphan of a supervisor that is gone, or a spare that was killed: one is made with the next command. */
    if (command == NULL) {
      spare_ended(pid);
      continue;
    }
    /* What it has said before its end. */
    read_reports(&reports, 0);
    supervisor_gone(command, !WIFEXITED(status) || WEXITSTATUS(status) != 0);
  }
}

/* --- the start -------------------------------------------------------------------------------------------------------------- */

void commands_start(const struct rlimit *descriptors) {
  int fds[2];
  null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_fd < 0 || pipe2(fds, O_CLOEXEC) != 0) die("cannot prepare for commands");
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  reports = (struct source){.fd = fds[0], .ready = read_reports};
  report_writer = fds[1];
  loop_watch(&reports, EPOLLIN);
  supervise_start(report_writer, descriptors);
  cgroup_start();
}

/* What is being made for a command: our ends are in the streams, its ends in `descriptors`. */
struct making {
  struct run_channel *run;
  struct descriptor descriptors[256];
  bool keep[256]; /* the command's end is not ours to close */
  size_t count;
};

static void output_ended(struct output *output, int error) {
  const struct run_channel *run = output->owner;
  (void)error;
  /* Mostly because it exits. */
  if (run->command != NULL && !run->command->exited) queue_expect();
}

static void give(struct making *making, int from, int to, bool keep) {
  making->descriptors[making->count] = (struct descriptor){from, to};
  making->keep[making->count++] = keep;
}

static struct run_stream *add_stream(struct run_channel *run, int index, int directions) {
  struct run_stream *stream = &run->streams[run->stream_count++];
  stream->index = (uint8_t)index;
  stream->directions = (uint8_t)directions;
  return stream;
}

static void add_output(struct run_channel *run, struct run_stream *stream, int fd) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  output_open(&stream->output, fd, run->channel.number, stream->index, output_ended, run);
}

static void add_input(struct run_channel *run, struct run_stream *stream, int fd, enum input_kind kind) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  input_open(&stream->input, fd, kind, run->channel.number, stream->index, NULL, run);
}

static bool make_pipe(struct making *making, int index, int directions) {
  int fds[2], writer;
  if (directions == (DIRECTION_IN | DIRECTION_OUT)) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return false;
    if ((writer = fcntl(fds[0], F_DUPFD_CLOEXEC, 3)) < 0) {
      close(fds[0]);
      close(fds[1]);
      return false;
    }
    struct run_stream *stream = add_stream(making->run, index, directions);
    add_output(making->run, stream, fds[0]);
    add_input(making->run, stream, writer, INPUT_SOCKET);
    give(making, fds[1], index, false);
    return true;
  }
  if (pipe2(fds, O_CLOEXEC) != 0) return false;
  struct run_stream *stream = add_stream(making->run, index, directions);
  if (directions == DIRECTION_IN) {
    add_input(making->run, stream, fds[1], INPUT_PIPE);
    give(making, fds[0], index, false);
  } else {
    add_output(making->run, stream, fds[0]);
    give(making, fds[1], index, false);
  }
  return true;
}

static bool make_terminal(struct making *making, const struct run_fields *fields, uid_t owner) {
  struct run_channel *run = making->run;
  int master, slave;
  if (!terminal_open(&master, &slave, owner, fields->rows, fields->columns)) return false;
  int reader = fcntl(master, F_DUPFD_CLOEXEC, 3), writer = fcntl(master, F_DUPFD_CLOEXEC, 3);
  if (reader < 0 || writer < 0) {
    int error = errno;
    if (reader >= 0) close(reader);
    close(master);
    close(slave);
    errno = error;
    return false;
  }
  run->terminal = master;
  add_input(run, add_stream(run, 0, DIRECTION_IN), writer, INPUT_TERMINAL);
  add_output(run, add_stream(run, 1, DIRECTION_OUT), reader);
  give(making, slave, 0, true);
  give(making, slave, 1, true);
  give(making, slave, 2, false);
  return true;
}

static bool make_streams(struct making *making, const struct run_fields *fields, uid_t owner) {
  if ((fields->flags & RUN_TERMINAL) != 0) {
    if (!make_terminal(making, fields, owner)) return false;
  } else {
    if ((fields->flags & RUN_STDIN) == 0) give(making, null_fd, 0, true);
    else if (!make_pipe(making, 0, DIRECTION_IN)) return false;
    if ((fields->flags & RUN_NO_STDOUT) != 0) give(making, null_fd, 1, true);
    else if (!make_pipe(making, 1, DIRECTION_OUT)) return false;
    if ((fields->flags & RUN_NO_STDERR) != 0) give(making, null_fd, 2, true);
    else if (!make_pipe(making, 2, DIRECTION_OUT)) return false;
  }
  for (size_t i = 0; i < fields->descriptor_count; i++)
    if (!make_pipe(making, (int)fields->descriptors[i].fd, fields->descriptors[i].direction)) return false;
  return true;
}

static pid_t launch(const struct making *making, const struct run_fields *fields, const struct user *user) {
  char **env = *fields->env == NULL ? settings.environment : fields->env;
  char *cwd = *fields->cwd == '/' ? text("%s", fields->cwd) : text("%s/%s", settings.workdir, fields->cwd);
  size_t extra = (fields->flags & RUN_SANDBOX) != 0 ? 1 : 0;
  gid_t *groups = allocate((user->group_count + extra + 1) * sizeof *groups);
  if (user->group_count > 0) memcpy(groups, user->groups, user->group_count * sizeof *groups);
  if (extra > 0) groups[user->group_count] = SANDBOX_GROUP;
  struct limit *limits = allocate(fields->limit_count * sizeof *limits);
  for (size_t i = 0; i < fields->limit_count; i++)
    limits[i] = (struct limit){fields->limits[i].resource, {fields->limits[i].soft, fields->limits[i].hard}};
  struct descriptor *descriptors = allocate(making->count * sizeof *descriptors);
  memcpy(descriptors, making->descriptors, making->count * sizeof *descriptors);

  struct launch launch = {
      .argv = fields->argv,
      .env = env,
      .candidates = find_candidates(fields->argv[0], env),
      .cwd = cwd,
      .descriptors = descriptors,
      .descriptor_count = making->count,
      .terminal = (fields->flags & RUN_TERMINAL) != 0,
      .uid = user->uid,
      .gid = user->gid,
      .groups = groups,
      .group_count = user->group_count + extra,
      .limits = limits,
      .limit_count = fields->limit_count,
  };
  pid_t pid = supervise(&launch);
  int error = errno;
  free_list(launch.candidates);
  free(cwd);
  free(groups);
  free(limits);
  free(descriptors);
  errno = error;
  return pid;
}

static void run_start(uint32_t number, const struct run_fields *fields) {
  bool sandbox = (fields->flags & RUN_SANDBOX) != 0;
  if (!sandbox && resetting()) {
    send_error(number, EBUSY, STAGE_START, "a reset goes on");
    return;
  }
  struct user other = {0}, user = {settings.uid, settings.gid, settings.groups, settings.group_count, NULL};
  if (*fields->user != 0) {
    if (!user_find(fields->user, &other)) {
      send_error(number, 0, STAGE_USER, fields->user);
      return;
    }
    user = other;
  }

  if (sandbox) places_sandbox_acts();
  if (user.uid == geteuid()) root_commands = true;
  struct run_channel *run = allocate_zeroed(sizeof *run);
  run->channel = (struct channel){.kind = &run_kind, .number = number, .sandbox = sandbox};
  run->terminal = -1;
  run->streams = allocate_zeroed((3 + fields->descriptor_count) * sizeof *run->streams);
  struct making making = {.run = run};
  uint64_t memory_kills = cgroup_memory_kills();
  pid_t supervisor = make_streams(&making, fields, user.uid) ? launch(&making, fields, &user) : -1;
  int error = errno;
  for (size_t i = 0; i < making.count; i++)
    if (!making.keep[i]) close(making.descriptors[i].from);
  user_free(&other);
  if (supervisor < 0) {
    send_error(number, error, STAGE_START, NULL);
    end_channel(run);
    loop_bury(run);
    return;
  }
  struct command *command = allocate_zeroed(sizeof *command);
  *command = (struct command){
      .supervisor = supervisor, .sandbox = sandbox, .memory_kills = memory_kills, .channel = run, .next = commands};
  if (commands != NULL) commands->previous = command;
  commands = command;
  if (!sandbox) session_commands++;
  run->command = command;
  channel_add(&run->channel);
  queue_expect();
  loop_later(supervise_ahead);
}

void run_request(uint32_t channel, struct reader *reader) {
  struct run_fields fields;
  const char *problem = run_decode(reader, &fields);
  if (problem != NULL) malformed("wrong %s in a request to run a command", problem);
  run_start(channel, &fields);
  run_free(&fields);
}

/* --- resets ----------------------------------------------------------------------------------------------------------------- */

static void end_session_channel(struct channel *channel, void *argument) {
  (void)argument;
  if (channel->kind != &run_kind || channel->sandbox) return;
  struct run_channel *run = run_of(channel);
  let_go(run);
  if (run->command != NULL) {
    run->closing = true;
    return;
  }
  close_channel(run);
}

void commands_kill_sessions(void) {
  for (struct command *command = commands; command != NULL; command = command->next)
    if (!command->sandbox) order_kill(command);
  channels_each(end_session_channel, NULL);
}

bool commands_of_root(void) { return root_commands; }

size_t commands_of_sessions(void) { return session_commands; }

bool commands_of_sandbox(void) {
  struct command *command = commands;
  while (command != NULL && !command->sandbox) command = command->next;
  return command != NULL;
}

pid_t *commands_supervisors(bool sandbox_only, size_t *count) {
  size_t capacity = 1;
  for (struct command *command = commands; command != NULL; command = command->next) capacity++;
  pid_t *list = allocate(capacity * sizeof *list);
  *count = 0;
  for (struct command *command = commands; command != NULL; command = command->next)
    if (command->sandbox || !sandbox_only) list[(*count)++] = command->supervisor;
  /* One that waits for a command has nothing of any. */
  if (spare_waits()) list[(*count)++] = spare_pid();
  return list;
}
