/* Space-efficient sparse extents of ESXi (seSparse): grains of 4 KiB, entries of 64 bits.  Only read. */
#define _GNU_SOURCE
#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#include "formats/extent.h"
#include "formats/table_cache.h"

#define SE_MAGIC 0xcafebabeull
#define SE_VOLATILE_MAGIC 0xcafecafeull
#define SE_VERSION 0x0000000200000001ull
#define SE_GRAIN_SECTORS 8u
#define SE_TABLE_SECTORS 64u
#define SE_TABLE_ENTRIES 4096u
#define SE_COVERAGE ((uint64_t) SE_TABLE_ENTRIES * SE_GRAIN_SECTORS)
#define SE_MAX_SECTORS (1ull << 37) /* 64 TiB */

/* An area of the file, in sectors. */
struct se_area {
  uint64_t offset, size;
};

/* On disk, little-endian. */
struct se_header {
  uint64_t magic, version, capacity, grain_size, grain_table_size, flags;
  uint64_t reserved[4];
  struct se_area volatile_header, journal_header, journal, grain_directory, grain_tables, free_bitmap, backmap, grains;
  uint8_t pad[304];
};

static_assert (sizeof (struct se_header) == 512, "the constant header is one sector");

struct se_volatile_header {
  uint64_t magic, free_table, next_transaction, replay_journal;
};

struct sesparse {
  struct extent base;
  uint64_t tables, tables_size, grains; /* sectors */
  uint32_t n_tables;
  uint64_t *gd; /* little-endian */
  struct table_cache *cache;
};

#define ULL(n) ((unsigned long long) (n))
#define INVALID(...) report (VIX_E_DISK_INVALIDDISK, __VA_ARGS__)
#define DAMAGED(...) report (VIX_E_DISK_NEEDSREPAIR, __VA_ARGS__)

static void
sesparse_free (struct sesparse *s)
{
  table_cache_free (s->cache);
  free (s->gd);
  free (s);
}

static VixError
sesparse_close (struct extent *e)
{
  file_close (e->file);
  sesparse_free ((struct sesparse *) e);
  return VIX_OK;
}

/* Kind and, for data, sector in the file of a table entry; false if no writer makes such an entry. */
static bool
decode_entry (const struct sesparse *s, uint64_t entry, enum run_kind *kind, uint64_t *sector)
{
  *sector = 0;
  switch (entry >> 60) {
  case 0: *kind = RUN_PARENT; return entry == 0;
  case 1:
  case 2: *kind = RUN_ZERO; return true; /* unmapped by the guest; zeroed */
  case 3:
    *kind = RUN_DATA;
    *sector = s->grains + (((entry >> 48) & 0xfff) | (entry & 0x0000ffffffffffffull) << 12) * SE_GRAIN_SECTORS;
    return *sector < s->base.file->size / SECTOR_SIZE;
  default: return false;
  }
}

/* The run at start, whose table is held. */
static VixError
run_in_table (const struct sesparse *s, const uint64_t *table, uint64_t start, uint64_t count, struct run *run)
{
  const uint64_t skip = start % SE_GRAIN_SECTORS, wanted = (skip + count + SE_GRAIN_SECTORS - 1) / SE_GRAIN_SECTORS;
  const uint32_t i = (uint32_t) (start / SE_GRAIN_SECTORS % SE_TABLE_ENTRIES);
  const uint64_t max = wanted < SE_TABLE_ENTRIES - i ? wanted : SE_TABLE_ENTRIES - i;
  enum run_kind kind;
  uint64_t sector, next, n = 1, sectors;

  if (!decode_entry (s, le64toh (table[i]), &run->kind, &sector))
    return DAMAGED ("%s: grain table for sector %llu, entry %u: 0x%llx is no valid entry", s->base.file->path,
                    (unsigned long long) start, i, (unsigned long long) le64toh (table[i]));
  while (n < max && decode_entry (s, le64toh (table[i + n]), &kind, &next) && kind == run->kind
         && (kind != RUN_DATA || next == sector + n * SE_GRAIN_SECTORS))
    ++n;
  sectors = n * SE_GRAIN_SECTORS - skip;
  run->count = sectors < count ? sectors : count;
  run->offset = (sector + skip) * SECTOR_SIZE;
  return VIX_OK;
}

static VixError
sesparse_map (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run)
{
  struct sesparse *s = (struct sesparse *) e;
  uint64_t index = start / SE_COVERAGE, sector;
  const void *table;
  VixError r;

  if (s->gd[index] == 0) {
    while (index < s->n_tables && s->gd[index] == 0)
      ++index;
    run->kind = RUN_PARENT;
    run->count = index * SE_COVERAGE - start < count ? index * SE_COVERAGE - start : count;
    return VIX_OK;
  }
  sector = s->tables + (le64toh (s->gd[index]) & 0xffffffff) * SE_TABLE_SECTORS;
  r = table_cache_hold (s->cache, e->file, (uint32_t) index, sector * SECTOR_SIZE, nowait, &table);
  if (r != VIX_OK)
    return r;
  r = run_in_table (s, table, start, count, run);
  table_cache_release (s->cache);
  return r;
}

static const struct extent_ops sesparse_ops = { .map = sesparse_map, .close = sesparse_close };

/* True if the area lies in the file; it is in host order then. */
static bool
take_area (const struct file *f, struct se_area *a)
{
  const uint64_t sectors = f->size / SECTOR_SIZE;

  a->offset = le64toh (a->offset);
  a->size = le64toh (a->size);
  return a->offset > 0 && a->offset < sectors && a->size <= sectors - a->offset;
}

static VixError
check_header (const struct file *f, struct se_header *h, uint64_t line_sectors)
{
  const uint64_t capacity = le64toh (h->capacity);

  if (le64toh (h->magic) != SE_MAGIC)
    return INVALID ("%s: byte 0: magic number 0x%llx, expected 0x%llx", f->path, ULL (le64toh (h->magic)), SE_MAGIC);
  if (le64toh (h->version) != SE_VERSION)
    return report (VIX_E_DISK_UNSUPPORTEDDISKVERSION, "%s: byte 8: version 0x%llx, known is 0x%llx", f->path,
                   (unsigned long long) le64toh (h->version), SE_VERSION);
  if (le64toh (h->grain_size) != SE_GRAIN_SECTORS || le64toh (h->grain_table_size) != SE_TABLE_SECTORS || h->flags != 0)
    return INVALID ("%s: byte 24: grain size, size of grain tables and flags must be 8, 64 and 0", f->path);
  for (size_t i = 0; i < sizeof h->pad; ++i)
    if (h->pad[i] != 0)
      return INVALID ("%s: byte %zu: the rest of the header is not zero", f->path, 208 + i);
  if (capacity > SE_MAX_SECTORS || capacity < line_sectors || capacity - line_sectors >= SE_GRAIN_SECTORS)
    return INVALID ("%s: byte 16: capacity of %llu sectors contradicts the %llu of the extent line", f->path,
                    (unsigned long long) capacity, (unsigned long long) line_sectors);
  if (!take_area (f, &h->volatile_header) || !take_area (f, &h->grain_directory) || !take_area (f, &h->grain_tables))
    return INVALID ("%s: byte 80: an area of the header does not lie inside the file", f->path);
  h->grains.offset = le64toh (h->grains.offset);
  if (h->grains.offset == 0 || h->grains.offset > MAX_SECTORS)
    return INVALID ("%s: byte 192: grains at sector %llu", f->path, (unsigned long long) h->grains.offset);
  if (h->grain_directory.size * SECTOR_SIZE / sizeof (uint64_t) * SE_COVERAGE < capacity)
    return INVALID ("%s: byte 136: grain directory of %llu sectors is too small for the capacity", f->path,
                    (unsigned long long) h->grain_directory.size);
  return VIX_OK;
}

/* The journal must be empty: what it holds is missing in the tables. */
static VixError
check_journal (const struct file *f, const struct se_header *h)
{
  struct se_volatile_header v;
  VixError r = file_read (f, &v, sizeof v, h->volatile_header.offset * SECTOR_SIZE);

  if (r != VIX_OK)
    return r;
  if (le64toh (v.magic) != SE_VOLATILE_MAGIC)
    return INVALID ("%s: sector %llu: no second header there", f->path, (unsigned long long) h->volatile_header.offset);
  if (v.replay_journal != 0)
    return DAMAGED ("%s: its last writer did not end properly; open it once on an ESXi host, which replays the journal",
                    f->path);
  return VIX_OK;
}

/* Every table belongs to one entry: a walk over all of them ends. */
static VixError
check_directory (const struct sesparse *s)
{
  CLEANUP_FREE uint8_t *used = calloc (s->tables_size / SE_TABLE_SECTORS / 8 + 1, 1);

  if (!used)
    return report_no_memory ();
  for (uint32_t i = 0; i < s->n_tables; ++i) {
    const uint64_t entry = le64toh (s->gd[i]), table = entry & 0xffffffff;

    if (entry != 0 && (entry >> 32 != 0x10000000 || ((entry & 0xffffffff) + 1) * SE_TABLE_SECTORS > s->tables_size))
      return INVALID ("%s: grain directory, entry %u: 0x%llx is no table of the file", s->base.file->path, i,
                      (unsigned long long) entry);
    if (entry != 0 && (used[table >> 3] >> (table & 7) & 1))
      return INVALID ("%s: grain directory, entry %u: grain table %llu belongs to another entry, too",
                      s->base.file->path, i, (unsigned long long) table);
    if (entry != 0)
      used[table >> 3] |= (uint8_t) (1u << (table & 7));
  }
  return VIX_OK;
}

static VixError
load_tables (struct sesparse *s, const struct se_header *h, size_t extents)
{
  const size_t bytes = s->n_tables * sizeof *s->gd;
  VixError r;

  s->gd = malloc (bytes);
  r = s->gd ? file_read (s->base.file, s->gd, bytes, h->grain_directory.offset * SECTOR_SIZE) : report_no_memory ();
  if (r == VIX_OK)
    r = check_directory (s);
  return r == VIX_OK ? table_cache_new (s->n_tables, SE_TABLE_SECTORS * SECTOR_SIZE, extents, &s->cache) : r;
}

VixError
sesparse_open (const struct extent_source *source, struct extent **out)
{
  struct se_header h;
  struct sesparse *s;
  VixError r;

  if (source->file->size < sizeof h)
    return INVALID ("%s: has %llu bytes, its header alone has 512", source->file->path,
                    (unsigned long long) source->file->size);
  r = file_read (source->file, &h, sizeof h, 0);
  if (r == VIX_OK)
    r = check_header (source->file, &h, source->line->sectors);
  if (r == VIX_OK)
    r = check_journal (source->file, &h);
  if (r != VIX_OK)
    return r;
  s = calloc (1, sizeof *s);
  if (!s)
    return report_no_memory ();
  s->base = (struct extent){ .ops = &sesparse_ops, .file = source->file, .sectors = source->line->sectors };
  s->tables = h.grain_tables.offset;
  s->tables_size = h.grain_tables.size;
  s->grains = h.grains.offset;
  s->n_tables = (uint32_t) ((source->line->sectors - 1) / SE_COVERAGE + 1);
  r = load_tables (s, &h, source->of);
  if (r != VIX_OK) {
    sesparse_free (s);
    return r;
  }
  *out = &s->base;
  return VIX_OK;
}
