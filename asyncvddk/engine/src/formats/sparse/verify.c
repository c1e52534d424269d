/* Are the tables of a hosted sparse extent sound enough to be written to?  What an interrupted writer leaves behind is
 * mended if the header says that the last writer did not end properly.  A flush only moves entries from nothing to
 * "zeroed" to a grain, so of two different copies the one that is further is right; a defragmentation copies a grain
 * before it moves its entries, so of two grains either will do.  Everything else is left to a repair. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/zero.h"
#include "formats/sparse/check.h"

#define DAMAGED(...) report (VIX_E_DISK_NEEDSREPAIR, __VA_ARGS__)

/* Bytes of grain tables that opening for writing may look through; larger ones are compared with their copies when they
 * are first used. */
#define VERIFY_BYTES (64ull << 20)

/* An empty table that only one directory has: the other entry was about to be written.  Takes it out. */
static VixError
drop_table (struct sparse *s, uint32_t index, uint32_t *entries)
{
  static const uint32_t zero = 0;
  uint32_t *directory = s->gd[index] ? s->gd : s->rgd;
  const uint64_t offset = s->gd[index] ? s->gd_offset : s->rgd_offset;
  VixError r = file_read (s->base.file, entries, s->table_bytes, le32toh (directory[index]) * SECTOR_SIZE);

  if (r == VIX_OK && !(s->found_unclean && is_zero (entries, s->table_bytes)))
    return DAMAGED ("%s: grain table %u is in one of the two directories only; repair the disk before writing to it",
                    s->base.file->path, index);
  if (r == VIX_OK)
    r = file_write (s->base.file, &zero, sizeof zero, offset * SECTOR_SIZE + index * sizeof zero);
  if (r == VIX_OK)
    directory[index] = 0;
  return r;
}

static VixError
mend_directories (struct sparse *s, bool *mended)
{
  CLEANUP_FREE uint32_t *entries = malloc (s->table_bytes);
  VixError r = entries ? VIX_OK : report_no_memory ();

  for (uint32_t i = 0; r == VIX_OK && s->rgd && i < s->n_tables; ++i)
    if ((s->gd[i] == 0) != (s->rgd[i] == 0)) {
      *mended = true;
      r = drop_table (s, i, entries);
    }
  return r;
}

static VixError
scan_once (struct sparse *s, struct findings *f, bool write)
{
  struct scan c;
  VixError r = scan_init (&c, s, f);

  c.write = write;
  if (r == VIX_OK)
    r = scan_tables (&c);
  scan_free (&c);
  return r;
}

/* Looks at all tables and makes both copies of each what an interrupted writer was about to make them. */
static VixError
mend_tables (struct sparse *s, bool *mended)
{
  struct findings f = { 0 }, again = { 0 };
  VixError r = scan_once (s, &f, false);

  if (r == VIX_OK && *f.first)
    return DAMAGED ("%s; repair the disk before writing to it", f.first);
  if (r != VIX_OK || f.count[FOUND_UNFINISHED] == 0)
    return r;
  *mended = true;
  return scan_once (s, &again, true);
}

VixError
sparse_verify (struct sparse *s)
{
  bool mended = false;
  VixError r = mend_directories (s, &mended);

  s->verified = s->found_unclean || (uint64_t) s->n_tables * s->table_bytes <= VERIFY_BYTES;
  if (r == VIX_OK && s->verified)
    r = mend_tables (s, &mended);
  if (r != VIX_OK || !mended)
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
