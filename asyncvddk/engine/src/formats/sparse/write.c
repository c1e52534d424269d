/* Writing to a hosted sparse extent.  A grain that exists is written in place, by any number of threads at once.  New
 * grains go to the end of the file as wholes, and only then into the tables in memory: readers see the old content or
 * the new.  The tables reach the file in flush.c. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "formats/sparse/sparse.h"

/* Newly allocated sectors after which the tables are flushed without being asked. */
#define MAX_PENDING (1ull << 21)

/* Waits until no other thread allocates any of the grains, then keeps others off them.  Takes s->allocation. */
static void
lock_range (struct sparse *s, struct range *range)
{
  struct range *other;

  pthread_mutex_lock (&s->allocation);
  for (other = s->ranges; other;)
    if (other->first < range->end && range->first < other->end) {
      pthread_cond_wait (&s->released, &s->allocation);
      other = s->ranges;
    }
    else
      other = other->next;
  range->next = s->ranges;
  s->ranges = range;
  pthread_mutex_unlock (&s->allocation);
}

static void
unlock_range (struct sparse *s, struct range *range)
{
  struct range **p = &s->ranges;

  pthread_mutex_lock (&s->allocation);
  while (*p != range)
    p = &(*p)->next;
  *p = range->next;
  pthread_cond_broadcast (&s->released);
  pthread_mutex_unlock (&s->allocation);
}

/* Sectors at the end of the file for n grains. */
static VixError
reserve (struct sparse *s, uint64_t sectors, uint64_t *position)
{
  *position = atomic_load (&s->end);
  do
    if (sectors > SPARSE_MAX_FILE_SECTORS || *position > SPARSE_MAX_FILE_SECTORS - sectors)
      return report (VIX_E_FILE_TOO_BIG, "%s: cannot grow beyond 2 TiB; use a split disk", s->base.file->path);
  while (!atomic_compare_exchange_weak (&s->end, position, *position + sectors));
  return VIX_OK;
}

/* Takes a reservation back if nothing was reserved behind it; else the space leaks. */
static void
unreserve (struct sparse *s, uint64_t position, uint64_t sectors)
{
  uint64_t end = position + sectors;

  atomic_compare_exchange_strong (&s->end, &end, position);
}

/* Notes in the header that the tables may be behind, before they change for the first time.  Takes s->allocation. */
VixError
sparse_mark_unclean (struct sparse *s)
{
  static const uint8_t one = 1;
  VixError r = VIX_OK;

  pthread_mutex_lock (&s->allocation);
  if (!s->unclean) {
    r = file_write (s->base.file, &one, 1, offsetof (struct sparse_header, unclean_shutdown));
    s->unclean = r == VIX_OK;
  }
  pthread_mutex_unlock (&s->allocation);
  return r;
}

/* Stores one directory entry. */
static VixError
store_gde (struct sparse *s, uint64_t directory, uint32_t index, uint64_t sector)
{
  uint32_t entry = htole32 ((uint32_t) sector);

  return file_write (s->base.file, &entry, sizeof entry, directory * SECTOR_SIZE + index * sizeof entry);
}

/* Adds a grain table and its copy, both zero, to a directory that lacks them: tables on disk first, then the redundant
 * directory, then the directory.  Holds s->allocation; takes s->lock. */
static VixError
add_table (struct sparse *s, uint32_t index)
{
  const uint64_t sectors = round_up ((s->redundant ? 2 : 1) * s->table_sectors, grain_sectors (s));
  CLEANUP_FREE uint8_t *zeros = calloc (sectors, SECTOR_SIZE);
  uint64_t position;
  VixError r = zeros ? reserve (s, sectors, &position) : report_no_memory ();

  if (r == VIX_OK)
    r = file_write (s->base.file, zeros, sectors * SECTOR_SIZE, position * SECTOR_SIZE);
  if (r == VIX_OK)
    r = file_sync (s->base.file);
  if (r == VIX_OK && s->redundant)
    r = store_gde (s, s->rgd_offset, index, position + s->table_sectors);
  if (r == VIX_OK)
    r = store_gde (s, s->gd_offset, index, position);
  if (r == VIX_OK)
    r = file_sync (s->base.file);
  if (r != VIX_OK)
    return r;
  pthread_rwlock_wrlock (&s->lock);
  s->gd[index] = htole32 ((uint32_t) position);
  if (s->redundant)
    s->rgd[index] = htole32 ((uint32_t) position + s->table_sectors);
  pthread_rwlock_unlock (&s->lock);
  return VIX_OK;
}

/* Makes sure that grains can be entered into a table.  Takes s->lock and s->allocation. */
static VixError
prepare_table (struct sparse *s, uint32_t index)
{
  VixError r = VIX_OK;
  bool missing;

  pthread_mutex_lock (&s->allocation);
  pthread_rwlock_rdlock (&s->lock);
  missing = s->gd[index] == 0;
  pthread_rwlock_unlock (&s->lock);
  if (missing)
    r = add_table (s, index);
  pthread_mutex_unlock (&s->allocation);
  if (r == VIX_OK && !missing && !s->verified)
    r = sparse_compare_table (s, index);
  return r;
}

/* Enters new grains from sector position of the file on.  Takes s->lock. */
static VixError
publish (struct sparse *s, const struct range *range, uint64_t position)
{
  struct table *t;
  VixError r = cache_change (s, (uint32_t) (range->first >> s->table_bits), &t);

  if (r != VIX_OK)
    return r;
  for (uint64_t grain = range->first; grain < range->end; ++grain)
    t->entries[grain & (table_entries (s) - 1)] =
        htole32 ((uint32_t) (position + ((grain - range->first) << s->grain_bits)));
  cache_changed (s, t);
  atomic_fetch_add (&s->pending, (range->end - range->first) << s->grain_bits);
  pthread_rwlock_unlock (&s->lock);
  return VIX_OK;
}

/* What [start, start+count), part of a new grain, holds below; malloc'ed.  kind is that of the run written to. */
static VixError
content_below (struct sparse *s, uint64_t start, uint64_t count, enum run_kind kind, const struct backing *below,
               uint8_t **buf)
{
  uint64_t inside = start >= s->base.sectors ? 0 : s->base.sectors - start;

  *buf = count ? calloc (count, SECTOR_SIZE) : NULL;
  if (count && !*buf)
    return report_no_memory ();
  inside = inside < count ? inside : count;
  if (inside == 0 || kind != RUN_PARENT)
    return VIX_OK;
  if (below->missing)
    return report (VIX_E_DISK_PARTIALCHAIN,
                   "%s: sectors from %llu: the rest of a new grain is in the parent, which is not open; "
                   "open the whole chain, or write whole grains of %llu sectors",
                   s->base.file->path, (unsigned long long) (below->start + start),
                   (unsigned long long) grain_sectors (s));
  return below->link ? below->read (below, below->start + start, inside, *buf) : VIX_OK;
}

/* Writes the grains of range as wholes to sector position: buf for the run at start, what is below on both sides. */
static VixError
write_grains (struct sparse *s, const struct range *range, uint64_t position, uint64_t start, const struct run *run,
              const uint8_t *buf, const struct backing *below)
{
  const uint64_t head = start - (range->first << s->grain_bits), end = start + run->count;
  const uint64_t tail = (range->end << s->grain_bits) - end;
  CLEANUP_FREE uint8_t *before = NULL;
  CLEANUP_FREE uint8_t *after = NULL;
  VixError r = content_below (s, start - head, head, run->kind, below, &before);

  if (r == VIX_OK)
    r = content_below (s, end, tail, run->kind, below, &after);
  if (r != VIX_OK)
    return r;
  struct iovec iov[] = {
    { before, head * SECTOR_SIZE },
    { (void *) buf, run->count * SECTOR_SIZE },
    { after, tail * SECTOR_SIZE },
  };
  return file_writev (s->base.file, iov, 3, position * SECTOR_SIZE);
}

/* The first sectors of [start, start+count) go into new grains; run->count tells how many, 0: another thread was
 * faster. The range of all of them is locked. */
static VixError
allocate_locked (struct sparse *s, uint64_t start, uint64_t count, struct run *run, const uint8_t *buf,
                 const struct backing *below)
{
  struct range range = { .first = start >> s->grain_bits };
  uint64_t position, sectors;
  VixError r = sparse_map (&s->base, start, count, false, run);

  if (r == VIX_OK && run->kind == RUN_DATA)
    run->count = 0;
  if (r != VIX_OK || run->count == 0)
    return r;
  range.end = ((start + run->count - 1) >> s->grain_bits) + 1;
  sectors = (range.end - range.first) << s->grain_bits;
  r = reserve (s, sectors, &position);
  if (r != VIX_OK)
    return r;
  r = write_grains (s, &range, position, start, run, buf, below);
  if (r == VIX_OK)
    r = publish (s, &range, position);
  else
    unreserve (s, position, sectors);
  return r;
}

static VixError
allocate (struct sparse *s, uint64_t start, struct run *run, const uint8_t *buf, const struct backing *below)
{
  struct range range = { .first = start >> s->grain_bits };
  const uint32_t index = (uint32_t) (range.first >> s->table_bits);
  const uint64_t table_end = (uint64_t) (index + 1) << (s->grain_bits + s->table_bits);
  const uint64_t count = run->count < table_end - start ? run->count : table_end - start;
  VixError r = sparse_mark_unclean (s);

  if (r == VIX_OK)
    r = prepare_table (s, index);
  if (r != VIX_OK)
    return r;
  range.end = ((start + count - 1) >> s->grain_bits) + 1;
  lock_range (s, &range);
  r = allocate_locked (s, start, count, run, buf, below);
  unlock_range (s, &range);
  return r;
}

VixError
sparse_write (struct extent *e, uint64_t start, uint64_t count, const uint8_t *buf, const struct backing *below)
{
  struct sparse *s = (struct sparse *) e;
  VixError r = VIX_OK;

  while (r == VIX_OK && count > 0) {
    struct run run;

    if (atomic_load (&s->n_dirty) > s->max_tables / 2 || atomic_load (&s->pending) > MAX_PENDING)
      r = sparse_flush (e);
    if (r == VIX_OK)
      r = sparse_map (e, start, count, false, &run);
    if (r == VIX_OK)
      r = run.kind == RUN_DATA ? file_write (e->file, buf, run.count * SECTOR_SIZE, run.offset)
                               : allocate (s, start, &run, buf, below);
    if (r == VIX_OK) {
      start += run.count;
      count -= run.count;
      buf += run.count * SECTOR_SIZE;
    }
  }
  atomic_store (&s->unsynced, true);
  return r;
}
