/* Extents without a file: zeros for ever. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "formats/extent.h"

static VixError
zero_map (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run)
{
  (void) e;
  (void) start;
  (void) nowait;
  run->kind = RUN_ZERO;
  run->count = count;
  return VIX_OK;
}

static VixError
zero_close (struct extent *e)
{
  free (e);
  return VIX_OK;
}

static const struct extent_ops zero_ops = { .map = zero_map, .close = zero_close };

VixError
zero_open (const struct extent_source *source, struct extent **out)
{
  struct extent *e = calloc (1, sizeof *e);

  if (!e)
    return report_no_memory ();
  e->ops = &zero_ops;
  e->sectors = source->line->sectors;
  *out = e;
  return VIX_OK;
}
