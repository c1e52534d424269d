/* Redo logs of ESXi (vmfsSparse, "COWD"): a directory, and tables of 4096 entries that were added on demand.  Only
 * read. */
#define _GNU_SOURCE
#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#include "formats/extent.h"
#include "base/log.h"
#include "formats/table_cache.h"

#define COWD_HEADER_SECTORS 4u
#define COWD_TABLE_ENTRIES 4096u
#define COWD_TABLE_BYTES (COWD_TABLE_ENTRIES * sizeof (uint32_t))

/* On disk, little-endian, the first of four sectors in part. */
struct cowd_header {
  uint32_t magic, version, flags;
  uint32_t sectors, grain_size, gd_offset, gd_entries, free_sector;
};

static_assert (sizeof (struct cowd_header) == 32, "the common part of the header");

#define COWD_UNCLEAN_OFFSET 1648 /* of a u32 */

struct cowd {
  struct extent base;
  unsigned grain_bits;
  uint32_t n_tables;
  uint64_t data; /* no table and no grain lies before this sector */
  uint32_t *gd;  /* little-endian */
  struct table_cache *cache;
};

static void
cowd_free (struct cowd *c)
{
  table_cache_free (c->cache);
  free (c->gd);
  free (c);
}

static VixError
cowd_close (struct extent *e)
{
  file_close (e->file);
  cowd_free ((struct cowd *) e);
  return VIX_OK;
}

/* True if count sectors from start on are in the file, behind the directory. */
static bool
is_inside (const struct cowd *c, uint64_t start, uint64_t count)
{
  return start >= c->data && start + count <= c->base.file->size / SECTOR_SIZE;
}

/* How many of max entries continue the first. */
static uint32_t
entries_in_run (const uint32_t *entry, uint32_t max, uint64_t step)
{
  const uint64_t first = le32toh (*entry);
  uint32_t n = 1;

  while (n < max && le32toh (entry[n]) == (first ? first + n * step : 0))
    ++n;
  return n;
}

/* The run at start, whose table is held. */
static VixError
run_in_table (const struct cowd *c, const uint32_t *table, uint64_t start, uint64_t count, struct run *run)
{
  const uint64_t grain = 1ull << c->grain_bits, skip = start & (grain - 1);
  const uint32_t i = (uint32_t) (start >> c->grain_bits) % COWD_TABLE_ENTRIES;
  const uint64_t sector = le32toh (table[i]), wanted = (skip + count + grain - 1) >> c->grain_bits;
  const uint32_t max = wanted < COWD_TABLE_ENTRIES - i ? (uint32_t) wanted : COWD_TABLE_ENTRIES - i;
  const uint64_t sectors = ((uint64_t) entries_in_run (table + i, max, grain) << c->grain_bits) - skip;

  if (sector != 0 && !is_inside (c, sector, 1))
    return report (VIX_E_DISK_NEEDSREPAIR, "%s: grain table for sector %llu, entry %u: sector %llu holds no grain",
                   c->base.file->path, (unsigned long long) start, i, (unsigned long long) sector);
  run->kind = sector ? RUN_DATA : RUN_PARENT;
  run->count = sectors < count ? sectors : count;
  run->offset = (sector + skip) * SECTOR_SIZE;
  return VIX_OK;
}

static VixError
cowd_map (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run)
{
  struct cowd *c = (struct cowd *) e;
  const uint64_t coverage = (uint64_t) COWD_TABLE_ENTRIES << c->grain_bits;
  uint64_t index = start / coverage;
  const void *table;
  VixError r;

  if (c->gd[index] == 0) {
    while (index < c->n_tables && c->gd[index] == 0)
      ++index;
    run->kind = RUN_PARENT;
    run->count = index * coverage - start < count ? index * coverage - start : count;
    return VIX_OK;
  }
  r = table_cache_hold (c->cache, e->file, (uint32_t) index, le32toh (c->gd[index]) * SECTOR_SIZE, nowait, &table);
  if (r != VIX_OK)
    return r;
  r = run_in_table (c, table, start, count, run);
  table_cache_release (c->cache);
  return r;
}

static const struct extent_ops cowd_ops = { .map = cowd_map, .close = cowd_close };

static VixError
check_header (const struct file *f, const struct cowd_header *h, uint64_t line_sectors)
{
  const uint64_t sectors = le32toh (h->sectors), grain = le32toh (h->grain_size);

  if (le32toh (h->version) != 1)
    return report (VIX_E_DISK_UNSUPPORTEDDISKVERSION, "%s: byte 4: version %u, known is 1", f->path,
                   le32toh (h->version));
  if (grain == 0 || grain > 2048 || (grain & (grain - 1)) != 0)
    return report (VIX_E_DISK_INVALIDDISK,
                   "%s: byte 16: grain size of %llu sectors, possible are powers of two to 2048", f->path,
                   (unsigned long long) grain);
  if (sectors < line_sectors || sectors - line_sectors >= grain)
    return report (VIX_E_DISK_INVALIDDISK,
                   "%s: byte 12: capacity of %llu sectors contradicts the %llu of the extent line", f->path,
                   (unsigned long long) sectors, (unsigned long long) line_sectors);
  if (le32toh (h->gd_entries) != (sectors - 1) / (COWD_TABLE_ENTRIES * grain) + 1)
    return report (VIX_E_DISK_INVALIDDISK, "%s: byte 24: %u grain tables do not fit a capacity of %llu sectors",
                   f->path, le32toh (h->gd_entries), (unsigned long long) sectors);
  if (le32toh (h->gd_offset) < COWD_HEADER_SECTORS)
    return report (VIX_E_DISK_INVALIDDISK, "%s: byte 20: grain directory at sector %u, inside the header", f->path,
                   le32toh (h->gd_offset));
  return VIX_OK;
}

static VixError
load_directory (struct cowd *c, uint64_t offset)
{
  const size_t bytes = c->n_tables * sizeof *c->gd;

  c->gd = malloc (bytes);
  if (!c->gd)
    return report_no_memory ();
  if ((offset + COWD_HEADER_SECTORS) * SECTOR_SIZE > c->base.file->size
      || bytes > c->base.file->size - offset * SECTOR_SIZE)
    return report (VIX_E_DISK_INVALIDDISK, "%s: byte 20: grain directory at sector %llu does not lie inside the file",
                   c->base.file->path, (unsigned long long) offset);
  c->data = offset + (bytes + SECTOR_SIZE - 1) / SECTOR_SIZE;
  return file_read (c->base.file, c->gd, bytes, offset * SECTOR_SIZE);
}

static VixError
check_directory (const struct cowd *c)
{
  for (uint32_t i = 0; i < c->n_tables; ++i)
    if (c->gd[i] != 0 && !is_inside (c, le32toh (c->gd[i]), COWD_TABLE_BYTES / SECTOR_SIZE))
      return report (VIX_E_DISK_INVALIDDISK,
                     "%s: grain directory, entry %u: grain table at sector %u does not lie inside the file",
                     c->base.file->path, i, le32toh (c->gd[i]));
  return VIX_OK;
}

static VixError
warn_if_unclean (const struct file *f)
{
  uint32_t unclean = 0;
  VixError r = file_read (f, &unclean, sizeof unclean, COWD_UNCLEAN_OFFSET);

  if (r == VIX_OK && unclean != 0)
    engine_warn ("%s: its last writer did not end properly", f->path);
  return r;
}

static VixError
load_tables (struct cowd *c, const struct cowd_header *h, size_t extents)
{
  VixError r = load_directory (c, le32toh (h->gd_offset));

  if (r == VIX_OK)
    r = check_directory (c);
  if (r == VIX_OK)
    r = warn_if_unclean (c->base.file);
  return r == VIX_OK ? table_cache_new (c->n_tables, COWD_TABLE_BYTES, extents, &c->cache) : r;
}

VixError
cowd_open (const struct extent_source *source, struct extent **out)
{
  struct cowd_header h;
  struct cowd *c;
  VixError r;

  if (source->file->size < COWD_HEADER_SECTORS * SECTOR_SIZE)
    return report (VIX_E_DISK_INVALIDDISK, "%s: has %llu bytes, its header alone has 2048", source->file->path,
                   (unsigned long long) source->file->size);
  r = file_read (source->file, &h, sizeof h, 0);
  if (r == VIX_OK)
    r = check_header (source->file, &h, source->line->sectors);
  if (r != VIX_OK)
    return r;
  c = calloc (1, sizeof *c);
  if (!c)
    return report_no_memory ();
  c->base = (struct extent){ .ops = &cowd_ops, .file = source->file, .sectors = source->line->sectors };
  c->grain_bits = (unsigned) __builtin_ctz (le32toh (h.grain_size));
  c->n_tables = le32toh (h.gd_entries);
  r = load_tables (c, &h, source->of);
  if (r != VIX_OK) {
    cowd_free (c);
    return r;
  }
  *out = &c->base;
  return VIX_OK;
}
