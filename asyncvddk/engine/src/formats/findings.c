#define _GNU_SOURCE
#include "formats/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

void
finding (struct findings *f, enum severity severity, const char *fmt, ...)
{
  char line[sizeof f->first];
  va_list args;

  ++f->count[severity];
  if (f->room == 0 && (severity == FOUND_UNFINISHED || *f->first))
    return;
  va_start (args, fmt);
  vsnprintf (line, sizeof line, fmt, args);
  va_end (args);
  if (severity != FOUND_UNFINISHED && !*f->first)
    strcpy (f->first, line);
  if (f->room > 0) {
    --f->room;
    engine_warn ("%s", line);
  }
}

uint64_t
findings_total (const struct findings *f)
{
  return f->count[FOUND_UNFINISHED] + f->count[FOUND_DAMAGE] + f->count[FOUND_LOSS];
}

VixError
findings_verdict (const struct findings *f)
{
  return f->count[FOUND_LOSS] ? VIX_E_DISK_CANTREPAIR : findings_total (f) ? VIX_E_DISK_NEEDSREPAIR : VIX_OK;
}
