/* Users and groups, as /etc/passwd and /etc/group have them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "memory.h"
#include "supervise.h"

#define FILE_MAX (16u * 1024u * 1024u)
#define FIELDS_MAX 8

/* The whole file as a text; empty when there is none, or when it is something else. */
static char *read_file(const char *path) {
  char *result = NULL;
  struct stat info;
  size_t length = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size < (off_t)FILE_MAX) {
    result = allocate((size_t)info.st_size + 1);
    while (length < (size_t)info.st_size) {
      ssize_t got = read(fd, result + length, (size_t)info.st_size - length);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      length += (size_t)got;
    }
  }
  if (fd >= 0) close(fd);
  if (result == NULL) result = allocate(1);
  result[length] = 0;
  return result;
}

/* Cuts the next line off, into fields at its colons. False at the end. */
static bool next_line(char **rest, char *fields[FIELDS_MAX], size_t *count) {
  if (*rest == NULL || **rest == 0) return false;
  char *line = *rest, *end = strchr(line, '\n');
  if (end == NULL) {
    *rest = NULL;
  } else {
    *end = 0;
    *rest = end + 1;
  }
  *count = 0;
  while (*count < FIELDS_MAX) {
    fields[(*count)++] = line;
    line = strchr(line, ':');
    if (line == NULL) break;
    *line++ = 0;
  }
  return true;
}

static bool number_of(const char *digits, uint32_t *value) {
  uint64_t result = 0;
  if (*digits == 0) return false;
  for (; *digits != 0; digits++) {
    if (*digits < '0' || *digits > '9') return false;
    result = result * 10 + (uint64_t)(*digits - '0');
    /* The largest number means "nobody in particular" to the system. */
    if (result >= UINT32_MAX) return false;
  }
  *value = (uint32_t)result;
  return true;
}

/* Finds the user, and gives his name (malloc), or NULL when he has no entry. */
static bool find_user(const char *spec, struct user *found, char **name) {
  char *content = read_file("/etc/passwd"), *rest = content, *fields[FIELDS_MAX];
  size_t count;
  uint32_t wanted = 0, uid, gid;
  bool numeric = number_of(spec, &wanted), by_name = false, by_number = false;
  *name = NULL;
  while (!by_name && next_line(&rest, fields, &count)) {
    if (count < 6 || !number_of(fields[2], &uid) || !number_of(fields[3], &gid)) continue;
    by_name = strcmp(fields[0], spec) == 0;
    if (!by_name && (!numeric || by_number || uid != wanted)) continue;
    by_number = true;
    free(*name);
    free(found->home);
    *name = text("%s", fields[0]);
    found->home = text("%s", fields[5]);
    found->uid = uid;
    found->gid = gid;
  }
  free(content);
  if (!by_number && numeric) found->uid = found->gid = wanted;
  return by_number || numeric;
}

static bool is_member(char *members, const char *name) {
  char *state = NULL;
  for (char *member = strtok_r(members, ",", &state); member != NULL; member = strtok_r(NULL, ",", &state))
    if (strcmp(member, name) == 0) return true;
  return false;
}

static bool find_group(const char *spec, gid_t *gid) {
  char *content = read_file("/etc/group"), *rest = content, *fields[FIELDS_MAX];
  size_t count;
  uint32_t number;
  bool found = false;
  while (!found && next_line(&rest, fields, &count)) {
    if (count < 3 || strcmp(fields[0], spec) != 0 || !number_of(fields[2], &number)) continue;
    *gid = number;
    found = true;
  }
  free(content);
  if (!found && number_of(spec, &number)) {
    *gid = number;
    found = true;
  }
  return found;
}

static void add_groups_of(const char *name, struct user *user) {
  char *content = read_file("/etc/group"), *rest = content, *fields[FIELDS_MAX];
  size_t count;
  uint32_t gid;
  while (next_line(&rest, fields, &count)) {
    if (count < 4 || !number_of(fields[2], &gid) || !is_member(fields[3], name)) continue;
    user->groups = resize_array(user->groups, user->group_count + 1, sizeof *user->groups);
    user->groups[user->group_count++] = gid;
  }
  free(content);
}

bool user_find(const char *spec, struct user *found) {
  *found = (struct user){0};
  char *user = text("%s", spec), *name = NULL, *colon = strchr(user, ':');
  const char *group = NULL;
  if (colon != NULL) {
    *colon = 0;
    group = colon + 1;
  }
  bool right = *user != 0 && (group == NULL || *group != 0) && find_user(user, found, &name);
  /* With a group of one's own choice there are no others, as with the engines. */
  if (right && group != NULL) right = find_group(group, &found->gid);
  else if (right && name != NULL) add_groups_of(name, found);
  /* Commands of this user could reach supervisors. */
  right = right && found->uid != SUPERVISOR_USER;
  if (right && found->home == NULL) found->home = text("%s", "");
  if (!right) user_free(found);
  free(name);
  free(user);
  return right;
}

void user_free(struct user *user) {
  free(user->groups);
  free(user->home);
  *user = (struct user){0};
}
