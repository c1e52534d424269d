#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/report.h"
#include "base/log.h"

VixError
report (VixError code, const char *fmt, ...)
{
  char line[2048];
  va_list args;

  va_start (args, fmt);
  vsnprintf (line, sizeof line, fmt, args);
  va_end (args);
  engine_warn ("%s", line);
  return code;
}

VixError
report_no_memory (void)
{
  return report (VIX_E_OUT_OF_MEMORY, "out of memory");
}

static VixError
error_of_errno (int err)
{
  switch (err) {
  case ENOENT:
  case ENOTDIR: return VIX_E_FILE_NOT_FOUND;
  case EACCES:
  case EPERM: return VIX_E_FILE_ACCESS_ERROR;
  case EROFS: return VIX_E_FILE_READ_ONLY;
  case EEXIST: return VIX_E_FILE_ALREADY_EXISTS;
  case ENOSPC:
  case EDQUOT: return VIX_E_DISK_FULL;
  case EFBIG:
  case EOVERFLOW: return VIX_E_FILE_TOO_BIG;
  case ENAMETOOLONG: return VIX_E_FILE_NAME_TOO_LONG;
  case EMFILE:
  case ENFILE: return VIX_E_DISK_TOOMANYOPENFILES;
  case ENOMEM: return VIX_E_OUT_OF_MEMORY;
  case EISDIR: return VIX_E_NOT_A_FILE;
  case ETXTBSY: return VIX_E_FILE_ALREADY_LOCKED;
  default: return VIX_E_FILE_ERROR;
  }
}

VixError
report_errno (int err, const char *path, const char *doing)
{
  errno = err;
  return report (error_of_errno (err), "%s: cannot %s: %m", path, doing);
}
