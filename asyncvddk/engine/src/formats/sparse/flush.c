/* Changed grain tables on their way into the file: grains first, then the redundant tables, then the tables. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "formats/sparse/sparse.h"

/* A changed table as it was when the flush began. */
struct changed {
  uint32_t index, version;
  uint64_t sector, redundant_sector;
  const uint32_t *entries;
};

/* All of them; the entries lie in one buffer. */
struct snapshot {
  struct changed *tables;
  uint32_t *buffer;
  uint32_t n;
};

static int
by_index (const void *a, const void *b)
{
  const struct changed *x = a, *y = b;

  return x->index < y->index ? -1 : x->index > y->index;
}

/* Copies the changed tables, in the order of the directory.  Takes s->lock. */
static VixError
take_snapshot (struct sparse *s, struct snapshot *snapshot)
{
  size_t n;

  pthread_rwlock_rdlock (&s->lock);
  n = atomic_load (&s->n_dirty); /* changes with the lock held for writing only */
  snapshot->tables = calloc (n + 1, sizeof *snapshot->tables);
  snapshot->buffer = malloc ((n + 1) * s->table_bytes);
  if (!snapshot->tables || !snapshot->buffer) {
    pthread_rwlock_unlock (&s->lock);
    return report_no_memory ();
  }
  for (uint32_t i = 0; i < s->max_tables; ++i)
    if (s->tables[i].dirty) {
      const struct table *t = &s->tables[i];

      snapshot->tables[snapshot->n++] =
          (struct changed){ .index = t->index,
                            .version = t->version,
                            .entries = t->entries,
                            .sector = le32toh (s->gd[t->index]),
                            .redundant_sector = s->redundant ? le32toh (s->rgd[t->index]) : 0 };
    }
  qsort (snapshot->tables, snapshot->n, sizeof *snapshot->tables, by_index);
  for (uint32_t i = 0; i < snapshot->n; ++i) {
    uint32_t *copy = snapshot->buffer + ((size_t) i << s->table_bits);

    memcpy (copy, snapshot->tables[i].entries, s->table_bytes);
    snapshot->tables[i].entries = copy;
  }
  atomic_store (&s->pending, 0);
  pthread_rwlock_unlock (&s->lock);
  return VIX_OK;
}

/* Writes the copies to one of their two places, neighbours with one call. */
static VixError
write_tables (const struct sparse *s, const struct snapshot *snapshot, bool redundant)
{
  VixError r = VIX_OK;

  for (uint32_t i = 0, n; r == VIX_OK && i < snapshot->n; i += n) {
    const struct changed *t = &snapshot->tables[i];
    const uint64_t sector = redundant ? t->redundant_sector : t->sector;

    for (n = 1; i + n < snapshot->n; ++n)
      if ((redundant ? t[n].redundant_sector : t[n].sector) != sector + (uint64_t) n * s->table_sectors)
        break;
    r = file_write (s->base.file, t->entries, n * s->table_bytes, sector * SECTOR_SIZE);
  }
  return r;
}

/* Marks what was written as such, unless it changed again.  Takes s->lock. */
static void
mark_clean (struct sparse *s, const struct snapshot *snapshot)
{
  pthread_rwlock_wrlock (&s->lock);
  for (uint32_t i = 0; i < snapshot->n; ++i) {
    struct table *t = cache_find (s, snapshot->tables[i].index);

    if (t->version == snapshot->tables[i].version) {
      t->dirty = false;
      atomic_fetch_sub (&s->n_dirty, 1);
    }
  }
  ++s->epoch;
  pthread_rwlock_unlock (&s->lock);
}

/* Holds s->flushing; takes s->lock. */
static VixError
store_snapshot (struct sparse *s, const struct snapshot *snapshot)
{
  VixError r = s->redundant ? write_tables (s, snapshot, true) : VIX_OK;

  if (r == VIX_OK)
    r = write_tables (s, snapshot, false);
  if (r == VIX_OK)
    r = file_sync (s->base.file);
  if (r == VIX_OK)
    mark_clean (s, snapshot);
  return r;
}

/* Stores the changed tables.  sync: first what their entries lead to.  Holds s->flushing; takes s->lock. */
static VixError
flush_tables (struct sparse *s, bool sync)
{
  struct snapshot snapshot = { 0 };
  VixError r = take_snapshot (s, &snapshot);

  if (r == VIX_OK && sync)
    r = file_sync (s->base.file);
  if (r == VIX_OK && snapshot.n > 0)
    r = store_snapshot (s, &snapshot);
  free (snapshot.tables);
  free (snapshot.buffer);
  return r;
}

VixError
sparse_flush (struct extent *e)
{
  struct sparse *s = (struct sparse *) e;
  VixError r = VIX_OK;

  pthread_mutex_lock (&s->flushing);
  if (atomic_exchange (&s->unsynced, false) || atomic_load (&s->n_dirty) > 0) {
    r = flush_tables (s, true);
    if (r != VIX_OK)
      atomic_store (&s->unsynced, true);
  }
  pthread_mutex_unlock (&s->flushing);
  return r;
}

/* For a thread that has the extent alone and has synced the file since grains were last written. */
VixError
sparse_store_tables (struct sparse *s)
{
  VixError r;

  pthread_mutex_lock (&s->flushing);
  r = flush_tables (s, false);
  pthread_mutex_unlock (&s->flushing);
  return r;
}

/* The last flush; if it went well the header says so.  No other thread uses the extent any more. */
VixError
sparse_finish (struct sparse *s)
{
  static const uint8_t zero = 0;
  VixError r = s->base.file->writable && !s->compressed ? sparse_flush (&s->base) : VIX_OK;

  if (r != VIX_OK || !(s->unclean || (s->base.file->writable && s->found_unclean && s->verified)))
    return r;
  r = file_write (s->base.file, &zero, 1, offsetof (struct sparse_header, unclean_shutdown));
  return r == VIX_OK ? file_sync (s->base.file) : r;
}
