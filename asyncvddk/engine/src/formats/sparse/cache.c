/* Grain tables in memory: bounded, replaced by a clock.  Changed tables stay until they are flushed. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "formats/sparse/sparse.h"
#include "formats/table_cache.h"

/* So many tables may hold changes, however little memory there is for others: each flush waits for the device. */
#define MIN_CHANGED 64u

VixError
cache_init (struct sparse *s, size_t extents)
{
  s->wanted_tables = (uint32_t) table_cache_room (s->table_bytes, extents);
  s->max_tables = s->wanted_tables > MIN_CHANGED ? s->wanted_tables : MIN_CHANGED;
  s->slots = calloc (s->n_tables, sizeof *s->slots);
  s->tables = calloc (s->max_tables, sizeof *s->tables);
  return s->slots && s->tables ? VIX_OK : report_no_memory ();
}

void
cache_free (struct sparse *s)
{
  for (uint32_t i = 0; s->tables && i < s->max_tables; ++i)
    free (s->tables[i].entries);
  free (s->tables);
  free (s->slots);
}

/* Needs the lock, for reading at least. */
struct table *
cache_find (struct sparse *s, uint32_t index)
{
  uint32_t slot = s->slots[index];

  if (slot == 0)
    return NULL;
  if (!atomic_load_explicit (&s->tables[slot - 1].used, memory_order_relaxed))
    atomic_store_explicit (&s->tables[slot - 1].used, true, memory_order_relaxed);
  return &s->tables[slot - 1];
}

/* The slot of a table that was not used lately, or an empty one, as long as there is room; NULL: there is none.  Needs
 * the lock for writing. */
static struct table *
find_slot (struct sparse *s, bool room)
{
  for (uint32_t i = 0; i < 2 * s->max_tables; ++i) {
    struct table *t = &s->tables[s->hand];

    s->hand = (s->hand + 1) % s->max_tables;
    if (t->entries ? t->dirty || atomic_exchange (&t->used, false) : !room)
      continue;
    return t;
  }
  return NULL;
}

/* A slot to fill; NULL if all hold changes.  Needs the lock for writing. */
static struct table *
take_slot (struct sparse *s)
{
  const bool room = s->n_cached < s->wanted_tables;
  struct table *t = find_slot (s, room);

  return t || room ? t : find_slot (s, true);
}

/* Puts entries (taken over on success) into the cache.  Needs the lock for writing. */
static VixError
install (struct sparse *s, uint32_t index, uint32_t *entries)
{
  struct table *t = take_slot (s);

  if (!t)
    return report (VIX_E_FILE_ERROR, "%s: changed grain tables cannot be written, no more fit into memory",
                   s->base.file->path);
  if (t->entries)
    s->slots[t->index] = 0;
  else
    ++s->n_cached;
  free (t->entries);
  t->entries = entries;
  t->index = index;
  t->compared = false;
  atomic_store (&t->used, true);
  s->slots[index] = (uint16_t) (t - s->tables + 1);
  return VIX_OK;
}

/* Reads a table that gd has.  Takes the lock; DISK_WOULD_BLOCK with nowait. */
VixError
cache_load (struct sparse *s, uint32_t index, bool nowait)
{
  CLEANUP_FREE uint32_t *entries = malloc (s->table_bytes);
  bool stale = true;

  if (!entries)
    return report_no_memory ();
  while (stale) {
    struct iovec iov = { entries, s->table_bytes };
    uint32_t epoch;
    uint64_t sector;
    VixError r;

    pthread_rwlock_rdlock (&s->lock);
    epoch = s->epoch;
    sector = le32toh (s->gd[index]);
    pthread_rwlock_unlock (&s->lock);
    r = file_readv (s->base.file, &iov, 1, sector * SECTOR_SIZE, nowait);
    if (r != VIX_OK)
      return r;
    pthread_rwlock_wrlock (&s->lock);
    stale = !s->slots[index] && s->epoch != epoch;
    if (!s->slots[index] && !stale) {
      r = install (s, index, entries);
      if (r == VIX_OK)
        entries = NULL;
    }
    pthread_rwlock_unlock (&s->lock);
    if (r != VIX_OK)
      return r;
  }
  return VIX_OK;
}

/* Takes the lock. */
VixError
cache_add (struct sparse *s, uint32_t index)
{
  uint32_t *entries = calloc (1, s->table_bytes);
  VixError r;

  if (!entries)
    return report_no_memory ();
  pthread_rwlock_wrlock (&s->lock);
  r = install (s, index, entries);
  if (r == VIX_OK) {
    cache_find (s, index)->dirty = true;
    atomic_fetch_add (&s->n_dirty, 1);
  }
  pthread_rwlock_unlock (&s->lock);
  if (r != VIX_OK)
    free (entries);
  return r;
}

VixError
cache_change (struct sparse *s, uint32_t index, struct table **t)
{
  pthread_rwlock_wrlock (&s->lock);
  while (!(*t = cache_find (s, index))) {
    VixError r;

    pthread_rwlock_unlock (&s->lock);
    r = cache_load (s, index, false);
    if (r != VIX_OK)
      return r;
    pthread_rwlock_wrlock (&s->lock);
  }
  return VIX_OK;
}

void
cache_changed (struct sparse *s, struct table *t)
{
  if (!t->dirty)
    atomic_fetch_add (&s->n_dirty, 1);
  t->dirty = true;
  ++t->version;
}
