/* Flat extents: sector n of the disk is sector n of the file, behind an offset. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "formats/extent.h"

struct flat {
  struct extent base;
  uint64_t offset;      /* byte of sector 0 in the file */
  atomic_bool unsynced; /* set after each write, cleared before fdatasync */
};

/* All of a flat extent is data; holes of the file read as zeros without being asked for. */
static VixError
flat_map (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run)
{
  (void) nowait;
  run->kind = RUN_DATA;
  run->count = count;
  run->offset = ((struct flat *) e)->offset + start * SECTOR_SIZE;
  return VIX_OK;
}

/* Here the holes of the file count: rounded inwards to sectors. */
static VixError
flat_scan (struct extent *e, uint64_t start, uint64_t count, scan_function *f, void *opaque)
{
  const uint64_t origin = ((struct flat *) e)->offset, end = start + count;
  VixError r = VIX_OK;

  while (r == VIX_OK && start < end) {
    uint64_t data, hole;

    file_next_data (e->file, origin + start * SECTOR_SIZE, origin + end * SECTOR_SIZE, &data, &hole);
    data = (data - origin) / SECTOR_SIZE;
    hole = (hole - origin + SECTOR_SIZE - 1) / SECTOR_SIZE;
    if (data > start)
      r = f (opaque, start, data - start, RUN_ZERO);
    if (r == VIX_OK && hole > data)
      r = f (opaque, data, hole - data, RUN_DATA);
    start = hole;
  }
  return r;
}

static VixError
flat_write (struct extent *e, uint64_t start, uint64_t count, const uint8_t *buf, const struct backing *below)
{
  struct flat *flat = (struct flat *) e;
  VixError r = file_write (e->file, buf, count * SECTOR_SIZE, flat->offset + start * SECTOR_SIZE);

  (void) below;
  atomic_store (&flat->unsynced, true);
  return r;
}

static VixError
flat_flush (struct extent *e)
{
  struct flat *flat = (struct flat *) e;
  VixError r;

  if (!atomic_exchange (&flat->unsynced, false))
    return VIX_OK;
  r = file_sync (e->file);
  if (r != VIX_OK)
    atomic_store (&flat->unsynced, true);
  return r;
}

static VixError
flat_close (struct extent *e)
{
  VixError r = flat_flush (e);

  file_close (e->file);
  free (e);
  return r;
}

static const struct extent_ops flat_ops = {
  .map = flat_map,
  .scan = flat_scan,
  .write = flat_write,
  .flush = flat_flush,
  .close = flat_close,
};

VixError
flat_open (const struct extent_source *source, struct extent **out)
{
  const struct extent_line *line = source->line;
  uint64_t end = (line->offset + line->sectors) * SECTOR_SIZE; /* both at most 2^40 */
  struct flat *flat;

  if (end > source->file->size)
    return report (VIX_E_DISK_INVALIDDISK, "%s: has %llu bytes, but line %zu of %s needs %llu; the extent is truncated",
                   source->file->path, (unsigned long long) source->file->size, line->line, source->where,
                   (unsigned long long) end);
  flat = calloc (1, sizeof *flat);
  if (!flat)
    return report_no_memory ();
  flat->base.ops = &flat_ops;
  flat->base.file = source->file;
  flat->base.sectors = line->sectors;
  flat->offset = line->offset * SECTOR_SIZE;
  *out = &flat->base;
  return VIX_OK;
}
