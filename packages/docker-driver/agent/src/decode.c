/* Decodes FILE requests. */
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "memory.h"

static bool flag(struct reader *reader) { return read_u8(reader) != 0; }

bool file_decode(const uint8_t *payload, size_t length, struct file_request *request) {
  struct reader reader = {.at = payload, .end = payload + length};
  struct file_request r = {.operation = read_u8(&reader)};
  bool known = true;
  switch (r.operation) {
    case FILE_STAT:
      r.path = read_str(&reader);
      r.follow = flag(&reader);
      break;
    case FILE_ACCESS:
      r.path = read_str(&reader);
      r.mode = read_u8(&reader);
      break;
    case FILE_MKDIR:
      r.path = read_str(&reader);
      r.mode = read_u32(&reader);
      r.recursive = flag(&reader);
      break;
    case FILE_READLINK:
    case FILE_REALPATH:
      r.path = read_str(&reader);
      break;
    case FILE_REMOVE:
      r.path = read_str(&reader);
      r.recursive = flag(&reader);
      r.force = flag(&reader);
      break;
    case FILE_RENAME:
    case FILE_LINK:
    case FILE_SYMLINK:
    case FILE_COPYFILE:
      r.path = read_str(&reader);
      r.second = read_str(&reader);
      break;
    case FILE_CHMOD:
      r.path = read_str(&reader);
      r.mode = read_u32(&reader);
      break;
    case FILE_CHOWN:
      r.path = read_str(&reader);
      r.owner = read_u32(&reader);
      r.group = read_u32(&reader);
      break;
    case FILE_TRUNCATE:
      r.path = read_str(&reader);
      r.size = read_u64(&reader);
      break;
    case FILE_UTIMES:
      r.path = read_str(&reader);
      r.accessed = read_i64(&reader);
      r.modified = read_i64(&reader);
      break;
    case FILE_COPY:
      r.path = read_str(&reader);
      r.second = read_str(&reader);
      r.overwrite = flag(&reader);
      r.times = flag(&reader);
      break;
    case FILE_LIST: {
      r.path = read_str(&reader);
      uint8_t recursive = read_u8(&reader);
      r.recursive = recursive != 0;
      r.follow = recursive == 1;
      break;
    }
    case FILE_MKTEMP:
      r.path = read_str(&reader);
      r.second = read_str(&reader);
      r.third = read_str(&reader);
      r.directory = flag(&reader);
      break;
    case FILE_OPEN:
    case FILE_UPLOAD:
      r.path = read_str(&reader);
      r.flags = read_u32(&reader);
      r.mode = read_u32(&reader);
      break;
    case FILE_CLOSE:
    case FILE_FSTAT:
    case FILE_FSYNC:
    case FILE_MKSTREAM:
      r.handle = read_u32(&reader);
      break;
    case FILE_READ:
      r.handle = read_u32(&reader);
      r.position = read_i64(&reader);
      r.most = read_u32(&reader);
      break;
    case FILE_WRITE:
      r.handle = read_u32(&reader);
      r.position = read_i64(&reader);
      if (reader.bad) break;
      r.length = (size_t)(reader.end - reader.at);
      r.bytes = allocate(r.length + 1);
      memcpy(r.bytes, reader.at, r.length);
      reader.at = reader.end;
      break;
    case FILE_FTRUNCATE:
      r.handle = read_u32(&reader);
      r.size = read_u64(&reader);
      break;
    case FILE_DOWNLOAD:
      r.path = read_str(&reader);
      r.offset = read_u64(&reader);
      r.size = read_u64(&reader);
      break;
    case FILE_WATCH:
      r.path = read_str(&reader);
      r.recursive = flag(&reader);
      break;
    default:
      known = false;
  }
  if (known && read_done(&reader)) {
    *request = r;
    return true;
  }
  file_request_free(&r);
  return false;
}

void file_request_free(struct file_request *request) {
  free(request->path);
  free(request->second);
  free(request->third);
  free(request->bytes);
}
