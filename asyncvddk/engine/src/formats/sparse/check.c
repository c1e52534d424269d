/* Are the tables of a hosted sparse extent sound enough to be written to?  Two entries on one grain, or a grain on a
 * table, would let a write destroy other data.  What an interrupted flush leaves behind is mended if the header says
 * that the last writer did not end properly: entries go from nothing to "zeroed" to a grain, so of two different copies
 * the one that is further is right.  Two different grains are the old and the new place of one that was being moved: both
 * have its content (see compact.c).  Everything else is left to a repair. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "formats/sparse/sparse.h"

#define DAMAGED(...) report (VIX_E_DISK_NEEDSREPAIR, __VA_ARGS__)

/* Bytes of grain tables that opening for writing may look through; larger ones are compared with their copies when they
 * are first used. */
#define VERIFY_BYTES (64ull << 20)

struct check {
  struct sparse *s;
  uint8_t *used;            /* one bit for each grain of the file */
  uint32_t first;           /* table with entries[0] */
  const uint32_t *entries;  /* of the grain tables; NULL: zeros */
  const uint32_t *zeros;    /* one table */
  uint32_t *merged;         /* room for one table */
  bool mended, past_end;
};

/* Notes that a grain is in use; false if it was already. */
static bool
use_grain (struct check *c, uint64_t grain)
{
  const uint8_t bit = (uint8_t) (1u << (grain & 7));
  const bool fresh = !(c->used[grain >> 3] & bit);

  c->used[grain >> 3] |= bit;
  return fresh;
}

/* Sectors that no grain may lie on. */
static void
use_sectors (struct check *c, uint64_t start, uint64_t count)
{
  for (uint64_t grain = start >> c->s->grain_bits; grain <= (start + count - 1) >> c->s->grain_bits; ++grain)
    use_grain (c, grain);
}

static void
use_tables (struct check *c, const uint32_t *directory, uint64_t offset)
{
  use_sectors (c, offset, round_up (4ull * c->s->n_tables, SECTOR_SIZE) / SECTOR_SIZE);
  for (uint32_t i = 0; i < c->s->n_tables; ++i)
    if (directory[i] != 0)
      use_sectors (c, le32toh (directory[i]), c->s->table_sectors);
}

static bool
is_zeroed (const struct sparse *s, uint32_t entry)
{
  return entry == 0 || (entry == SPARSE_GTE_ZEROED && s->zeroed_grains);
}

static VixError
check_entry (struct check *c, uint32_t index, uint32_t i, uint32_t entry)
{
  const struct sparse *s = c->s;
  const char *path = s->base.file->path;
  const uint64_t grain = ((uint64_t) index << s->table_bits) + i;

  if (is_zeroed (s, entry))
    return VIX_OK;
  if (entry < s->first_grain || entry >= s->end)
    return DAMAGED (
        "%s: grain table %u, entry %u: sector %u holds no grain (grains lie from %llu to %llu); repair the disk "
        "before writing to it",
        path, index, i, entry, (unsigned long long) s->first_grain, (unsigned long long) s->end);
  if (entry & (grain_sectors (s) - 1))
    return DAMAGED (
        "%s: grain table %u, entry %u: sector %u is no multiple of the grain size; the disk can be read only", path,
        index, i, entry);
  if (!use_grain (c, entry >> s->grain_bits))
    return DAMAGED ("%s: grain table %u, entry %u: sector %u is in use twice; repair the disk before writing to it",
                    path, index, i, entry);
  c->past_end = c->past_end || grain << s->grain_bits >= s->base.sectors;
  return VIX_OK;
}

static VixError
check_table (struct check *c, uint32_t index, const uint32_t *entries)
{
  VixError r = VIX_OK;

  for (uint32_t i = 0; r == VIX_OK && i < table_entries (c->s); ++i)
    if (entries[i] != 0)
      r = check_entry (c, index, i, le32toh (entries[i]));
  return r;
}

/* How far an entry got. */
static int
progress (const struct sparse *s, uint32_t entry)
{
  return entry == 0 ? 0 : is_zeroed (s, entry) ? 1 : 2;
}

/* Makes both copies of a table what an interrupted flush was about to make them. */
static VixError
mend_table (struct check *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant)
{
  const struct sparse *s = c->s;
  const struct file *f = s->base.file;
  VixError r;

  for (uint32_t i = 0; i < table_entries (s); ++i) {
    const int ours = progress (s, le32toh (entries[i])), theirs = progress (s, le32toh (redundant[i]));

    if (!s->found_unclean)
      return DAMAGED ("%s: grain table %u differs from its redundant copy; repair the disk before writing to it",
                      f->path, index);
    c->merged[i] = ours >= theirs ? entries[i] : redundant[i];
  }
  r = check_table (c, index, c->merged);
  if (r == VIX_OK)
    r = file_write (f, c->merged, s->table_bytes, le32toh (s->rgd[index]) * SECTOR_SIZE);
  if (r == VIX_OK)
    r = file_write (f, c->merged, s->table_bytes, le32toh (s->gd[index]) * SECTOR_SIZE);
  c->mended = true;
  return r;
}

/* One table of an area against its copy; either may be NULL for zeros. */
static VixError
check_pair (struct check *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant)
{
  entries = entries ? entries : c->zeros;
  redundant = redundant ? redundant : c->zeros;
  if (memcmp (entries, redundant, c->s->table_bytes) == 0)
    return check_table (c, index, entries);
  return mend_table (c, index, entries, redundant);
}

/* table_function for the redundant tables; c->entries has the others. */
static VixError
check_redundant (void *opaque, uint32_t first, uint32_t n, const uint32_t *redundant)
{
  struct check *c = opaque;
  const unsigned bits = c->s->table_bits;
  VixError r = VIX_OK;

  if (!c->entries && !redundant)
    return VIX_OK;
  for (uint32_t i = 0; r == VIX_OK && i < n; ++i)
    r = check_pair (c, first + i, c->entries ? c->entries + ((size_t) (first + i - c->first) << bits) : NULL,
                    redundant ? redundant + ((size_t) i << bits) : NULL);
  return r;
}

/* table_function for the grain tables. */
static VixError
check_tables (void *opaque, uint32_t first, uint32_t n, const uint32_t *entries)
{
  struct check *c = opaque;
  VixError r = VIX_OK;

  c->first = first;
  c->entries = entries;
  if (c->s->redundant)
    return walk_tables (c->s, c->s->rgd, first, first + n, check_redundant, c);
  for (uint32_t i = 0; r == VIX_OK && entries && i < n; ++i)
    r = check_table (c, first + i, entries + ((size_t) i << c->s->table_bits));
  return r;
}

/* A table that only one directory has: the other entry was about to be written. */
static VixError
mend_directories (struct check *c)
{
  struct sparse *s = c->s;
  static const uint32_t zero = 0;
  VixError r = VIX_OK;

  for (uint32_t i = 0; r == VIX_OK && s->redundant && i < s->n_tables; ++i) {
    if ((s->gd[i] == 0) == (s->rgd[i] == 0))
      continue;
    if (!s->found_unclean || s->gd[i] != 0)
      return DAMAGED ("%s: grain table %u is in one of the two directories only; repair the disk before writing to it",
                      s->base.file->path, i);
    s->rgd[i] = 0;
    c->mended = true;
    r = file_write (s->base.file, &zero, sizeof zero, s->rgd_offset * SECTOR_SIZE + i * sizeof zero);
  }
  return r;
}

static VixError
check_all_tables (struct check *c)
{
  struct sparse *s = c->s;
  VixError r;

  use_tables (c, s->gd, s->gd_offset);
  if (s->redundant)
    use_tables (c, s->rgd, s->rgd_offset);
  r = walk_tables (s, s->gd, 0, s->n_tables, check_tables, c);
  if (r == VIX_OK && c->past_end)
    engine_warn ("%s: has grains behind the end of the disk; they are ignored", s->base.file->path);
  return r;
}

VixError
sparse_verify (struct sparse *s)
{
  CLEANUP_FREE uint8_t *used = calloc ((s->end >> s->grain_bits >> 3) + 1, 1);
  CLEANUP_FREE uint32_t *tables = calloc (2, s->table_bytes);
  struct check c = { .s = s, .used = used, .zeros = tables, .merged = tables + table_entries (s) };
  VixError r = used && tables ? mend_directories (&c) : report_no_memory ();

  s->verified = s->found_unclean || (uint64_t) s->n_tables * s->table_bytes <= VERIFY_BYTES;
  if (r == VIX_OK && s->verified)
    r = check_all_tables (&c);
  if (r != VIX_OK || !c.mended)
    return r;
  engine_warn ("%s: the last writer did not end properly; the tables were mended", s->base.file->path);
  return file_sync (s->base.file);
}

/* True if the cached table is known to be equal to its copy; it is copied to entries else.  Takes s->lock. */
static bool
was_compared (struct sparse *s, uint32_t index, uint32_t *entries, VixError *r)
{
  const struct table *t;
  bool compared;

  pthread_rwlock_rdlock (&s->lock);
  while (!(t = cache_find (s, index))) {
    pthread_rwlock_unlock (&s->lock);
    *r = cache_load (s, index, false);
    if (*r != VIX_OK)
      return true;
    pthread_rwlock_rdlock (&s->lock);
  }
  compared = t->compared || t->dirty;
  memcpy (entries, t->entries, s->table_bytes);
  pthread_rwlock_unlock (&s->lock);
  return compared;
}

static void
mark_compared (struct sparse *s, uint32_t index)
{
  struct table *t;

  pthread_rwlock_wrlock (&s->lock);
  t = cache_find (s, index);
  if (t)
    t->compared = true;
  pthread_rwlock_unlock (&s->lock);
}

VixError
sparse_compare_table (struct sparse *s, uint32_t index)
{
  CLEANUP_FREE uint32_t *tables = calloc (2, s->table_bytes);
  uint32_t *redundant = tables + table_entries (s);
  VixError r = VIX_OK;

  if (!tables)
    return report_no_memory ();
  if (!s->redundant || was_compared (s, index, tables, &r))
    return r;
  r = file_read (s->base.file, redundant, s->table_bytes, le32toh (s->rgd[index]) * SECTOR_SIZE);
  if (r == VIX_OK && memcmp (tables, redundant, s->table_bytes) != 0)
    r = DAMAGED ("%s: grain table %u differs from its redundant copy; repair the disk before writing to it",
                 s->base.file->path, index);
  if (r == VIX_OK)
    mark_compared (s, index);
  return r;
}
