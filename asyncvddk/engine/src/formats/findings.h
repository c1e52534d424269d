/* What a check finds wrong with a disk: told to the client one line each, up to a bound, and counted. */
#ifndef ENGINE_FINDINGS_H
#define ENGINE_FINDINGS_H

#include <stdint.h>

#include "vixDiskLib.h"

enum severity {
  FOUND_UNFINISHED, /* a writer did not end properly: opening for writing mends it, too */
  FOUND_DAMAGE,     /* a repair mends it without loss */
  FOUND_LOSS,       /* data is gone, or nobody knows what is right */
  SEVERITIES
};

struct findings {
  unsigned room; /* lines that may still be told */
  uint64_t count[SEVERITIES];
  char first[768]; /* text of the first one that is more than unfinished */
};

/* One line: file, place, what is wrong, what it means, what a repair does. */
void finding (struct findings *f, enum severity severity, const char *fmt, ...)
    __attribute__ ((format (printf, 3, 4)));

uint64_t findings_total (const struct findings *f);

/* VIX_OK: nothing was found; VIX_E_DISK_NEEDSREPAIR: a repair mends all of it; VIX_E_DISK_CANTREPAIR.  Not reported. */
VixError findings_verdict (const struct findings *f);

#endif
