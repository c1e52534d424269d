/* The content of a disk, in order: what its tables say is there, without the grains that hold zeros.  While one piece is
 * being used the next one is being read. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "base/parallel.h"
#include "base/zero.h"
#include "operations/clone.h"

#define PIECE_SECTORS 4096u /* 2 MiB */

/* An area that grows until a gap follows. */
struct areas {
  uint64_t capacity;
  uint64_t first, last; /* [first, last), empty at the beginning */
  area_function *f;
  void *opaque;
};

static VixError
end_area (const struct areas *a)
{
  const uint64_t last = a->last < a->capacity ? a->last : a->capacity;

  return a->last == a->first ? VIX_OK : a->f (a->opaque, a->first, last - a->first);
}

/* scan_function */
static VixError
add_run (void *opaque, uint64_t start, uint64_t count, enum run_kind kind)
{
  struct areas *a = opaque;
  const uint64_t first = start / CLONE_GRAIN_SECTORS * CLONE_GRAIN_SECTORS;
  const uint64_t past = (start + count + CLONE_GRAIN_SECTORS - 1) / CLONE_GRAIN_SECTORS * CLONE_GRAIN_SECTORS;
  VixError r = VIX_OK;

  if (kind != RUN_DATA)
    return VIX_OK;
  if (a->last == a->first || first > a->last) {
    r = end_area (a);
    a->first = first;
  }
  a->last = past;
  return r;
}

VixError
clone_areas (struct disk *from, area_function *f, void *opaque)
{
  struct areas a = { .capacity = link_sectors (from->top), .f = f, .opaque = opaque };
  VixError r = chain_scan (from->top, 0, a.capacity, add_run, &a);

  return r == VIX_OK ? end_area (&a) : r;
}

/* A part of an area, in memory. */
struct piece {
  uint64_t start, count;
  uint8_t *data;
};

struct content {
  struct disk *from;
  content_function *f;
  void *opaque;
  struct progress *progress;
  int first_percent;
  uint64_t done, total; /* sectors */
  struct piece used, read; /* by the two threads */
  VixError used_result, read_result;
};

/* Sectors of the grain at a piece's sector. */
static uint64_t
grain_at (const struct piece *p, uint64_t at)
{
  return p->count - at < CLONE_GRAIN_SECTORS ? p->count - at : CLONE_GRAIN_SECTORS;
}

static bool
is_zero_grain (const struct piece *p, uint64_t at)
{
  return is_zero (p->data + at * SECTOR_SIZE, grain_at (p, at) * SECTOR_SIZE);
}

static VixError
use_piece (const struct content *c)
{
  const struct piece *p = &c->used;
  VixError r = VIX_OK;

  for (uint64_t at = 0, end; r == VIX_OK && at < p->count; at = end) {
    for (end = at; end < p->count && !is_zero_grain (p, end);)
      end += grain_at (p, end);
    if (end > at)
      r = c->f (c->opaque, p->start + at, end - at, p->data + at * SECTOR_SIZE);
    else
      end += grain_at (p, end);
  }
  return r;
}

/* For parallel. */
static void
do_half (void *opaque, unsigned i)
{
  struct content *c = opaque;

  if (i == 0)
    c->used_result = use_piece (c);
  else
    c->read_result
      = c->read.count > 0 ? chain_read (c->from->top, c->read.start, c->read.count, c->read.data, false) : VIX_OK;
}

/* Reads a piece, while the one before is used, and makes it the next one to be used. */
static VixError
next_piece (struct content *c, uint64_t start, uint64_t count)
{
  struct piece used = c->used;

  c->read.start = start;
  c->read.count = count;
  parallel (2, do_half, c);
  c->done += used.count;
  c->used = c->read;
  used.count = 0;
  c->read = used;
  if (c->used_result != VIX_OK || c->read_result != VIX_OK)
    return c->used_result != VIX_OK ? c->used_result : c->read_result;
  return c->progress ? progress_tell (c->progress, c->first_percent
                                                     + progress_share (c->done, c->total) * (99 - c->first_percent) / 99)
                     : VIX_OK;
}

/* area_function */
static VixError
read_area (void *opaque, uint64_t start, uint64_t count)
{
  VixError r = VIX_OK;

  for (uint64_t n; r == VIX_OK && count > 0; start += n, count -= n) {
    n = PIECE_SECTORS - start % PIECE_SECTORS;
    n = count < n ? count : n;
    r = next_piece (opaque, start, n);
  }
  return r;
}

/* area_function */
static VixError
count_area (void *opaque, uint64_t start, uint64_t count)
{
  (void) start;
  *(uint64_t *) opaque += count;
  return VIX_OK;
}

VixError
clone_content (struct disk *from, content_function *f, void *opaque, struct progress *progress, int first)
{
  CLEANUP_FREE uint8_t *buffers = malloc (2 * PIECE_SECTORS * SECTOR_SIZE);
  struct content c = { .from = from, .f = f, .opaque = opaque, .progress = progress, .first_percent = first };
  VixError r = buffers ? clone_areas (from, count_area, &c.total) : report_no_memory ();

  c.used.data = buffers;
  c.read.data = buffers + PIECE_SECTORS * SECTOR_SIZE;
  if (r == VIX_OK)
    r = clone_areas (from, read_area, &c);
  return r == VIX_OK ? next_piece (&c, 0, 0) : r;
}
