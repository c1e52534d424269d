/* Where the sectors of a hosted sparse extent are. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/zero.h"
#include "formats/sparse/sparse.h"

static enum run_kind
kind_of_entry (const struct sparse *s, uint32_t entry)
{
  return entry == 0 ? RUN_PARENT : entry == SPARSE_GTE_ZEROED && s->zeroed_grains ? RUN_ZERO : RUN_DATA;
}

static bool
is_grain (const struct sparse *s, uint32_t entry)
{
  return entry >= s->first_grain && entry < atomic_load_explicit (&s->end, memory_order_relaxed);
}

/* How many entries from i on continue what entry i begins: the same kind, data also in the file. */
static uint32_t
entries_in_run (const struct sparse *s, const struct table *t, uint32_t i, uint32_t max)
{
  const uint64_t first = le32toh (t->entries[i]);
  const uint64_t step = kind_of_entry (s, (uint32_t) first) == RUN_DATA ? grain_sectors (s) : 0;
  uint32_t n = 1;

  if (step && s->compressed)
    return 1;
  while (n < max && le32toh (t->entries[i + n]) == first + n * step)
    ++n;
  return n;
}

/* The run at start, whose grain table is t.  Needs the lock for reading. */
static VixError
run_in_table (const struct sparse *s, const struct table *t, uint64_t start, uint64_t count, struct run *run)
{
  const uint64_t skip = start & (grain_sectors (s) - 1);
  const uint32_t i = (uint32_t) (start >> s->grain_bits) & (table_entries (s) - 1);
  const uint32_t entry = le32toh (t->entries[i]);
  uint64_t max = (skip + count + grain_sectors (s) - 1) >> s->grain_bits;
  uint64_t sectors;

  run->kind = kind_of_entry (s, entry);
  if (run->kind == RUN_DATA && !is_grain (s, entry))
    return report (VIX_E_DISK_NEEDSREPAIR,
                   "%s: grain table %u, entry %u: sector %u holds no grain (grains lie from %llu to %llu); "
                   "the tables are damaged",
                   s->base.file->path, t->index, i, entry, (unsigned long long) s->first_grain,
                   (unsigned long long) s->end);
  if (max > table_entries (s) - i)
    max = table_entries (s) - i;
  sectors = ((uint64_t) entries_in_run (s, t, i, (uint32_t) max) << s->grain_bits) - skip;
  run->count = sectors < count ? sectors : count;
  run->offset = (entry + (s->compressed ? 0 : skip)) * SECTOR_SIZE;
  return VIX_OK;
}

/* The run at start, which no table covers, not even one that only memory has.  Needs the lock for reading. */
static VixError
run_without_table (const struct sparse *s, uint32_t index, uint64_t start, uint64_t count, struct run *run)
{
  const unsigned bits = s->grain_bits + s->table_bits;
  uint64_t sectors;

  while (index < s->n_tables && s->gd[index] == 0 && s->slots[index] == 0 && ((uint64_t) index << bits) < start + count)
    ++index;
  sectors = ((uint64_t) index << bits) - start;
  run->kind = RUN_PARENT;
  run->count = sectors < count ? sectors : count;
  return VIX_OK;
}

VixError
sparse_map (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run)
{
  struct sparse *s = (struct sparse *) e;
  const uint32_t index = (uint32_t) (start >> (s->grain_bits + s->table_bits));
  struct table *t;
  VixError r;

  pthread_rwlock_rdlock (&s->lock);
  while (!(t = cache_find (s, index)) && s->gd[index] != 0) {
    pthread_rwlock_unlock (&s->lock);
    r = cache_load (s, index, nowait);
    if (r != VIX_OK)
      return r;
    pthread_rwlock_rdlock (&s->lock);
  }
  r = t ? run_in_table (s, t, start, count, run) : run_without_table (s, index, start, count, run);
  pthread_rwlock_unlock (&s->lock);
  return r;
}

/* A flush has ended since the walk began: what the walk read may be older than what the flush wrote. */
#define SCAN_AGAIN (1ull << 33)

/* A scan under way: the run that grows until the kind changes. */
struct scan {
  struct sparse *s;
  uint32_t next;  /* table to be looked at */
  uint32_t epoch; /* when the walk began */
  uint64_t start, end;   /* asked for */
  uint64_t first, count; /* of the growing run */
  enum run_kind kind;
  uint32_t *copy; /* one table, when the cache has a newer one than the file */
  scan_function *f;
  void *opaque;
};

/* Adds grains [first, first+n) of one kind. */
static VixError
scan_add (struct scan *c, uint64_t first, uint64_t n, enum run_kind kind)
{
  uint64_t start = first << c->s->grain_bits, end = (first + n) << c->s->grain_bits;
  VixError r = VIX_OK;

  start = start < c->start ? c->start : start;
  end = end > c->end ? c->end : end;
  if (start >= end)
    return VIX_OK;
  if (c->count > 0 && c->kind == kind) {
    c->count += end - start;
    return VIX_OK;
  }
  if (c->count > 0)
    r = c->f (c->opaque, c->first, c->count, c->kind);
  c->first = start;
  c->count = end - start;
  c->kind = kind;
  return r;
}

/* How many entries from first on, of n, are of the kind of the first. */
static uint32_t
same_kind (const struct sparse *s, const uint32_t *first, uint32_t n)
{
  const uint32_t highest_zero = s->zeroed_grains ? SPARSE_GTE_ZEROED : 0;
  uint32_t i = 0;

  if (*first == 0 && is_zero (first, n * sizeof *first)) /* most often; and much faster than one by one */
    return n;
  if (le32toh (*first) <= highest_zero)
    while (i < n && first[i] == *first)
      ++i;
  else
    while (i < n && le32toh (first[i]) > highest_zero)
      ++i;
  return i;
}

static VixError
scan_entries (struct scan *c, uint32_t index, const uint32_t *entries)
{
  const uint32_t n = table_entries (c->s);
  const uint64_t first = (uint64_t) index << c->s->table_bits;
  VixError r = VIX_OK;

  for (uint32_t i = 0, run; r == VIX_OK && i < n; i += run) {
    run = same_kind (c->s, entries + i, n - i);
    r = scan_add (c, first + i, run, kind_of_entry (c->s, le32toh (entries[i])));
  }
  return r;
}

/* True: what the file has of c->next is out of date, and c->copy what it should be; *r may be SCAN_AGAIN.  Takes the
 * lock. */
static bool
changed_table (struct scan *c, VixError *r)
{
  struct sparse *s = c->s;
  const struct table *t;
  bool changed;

  pthread_rwlock_rdlock (&s->lock);
  t = s->slots[c->next] ? &s->tables[s->slots[c->next] - 1] : NULL;
  changed = t && t->dirty;
  if (changed)
    memcpy (c->copy, t->entries, s->table_bytes);
  *r = s->epoch == c->epoch ? VIX_OK : SCAN_AGAIN;
  pthread_rwlock_unlock (&s->lock);
  return changed;
}

/* No table is newer in memory than in the file as the walk finds it.  Takes the lock. */
static bool
file_is_current (struct scan *c)
{
  bool current;

  pthread_rwlock_rdlock (&c->s->lock);
  current = atomic_load (&c->s->n_dirty) == 0 && c->s->epoch == c->epoch;
  pthread_rwlock_unlock (&c->s->lock);
  return current;
}

/* table_function. */
static VixError
scan_tables (void *opaque, uint32_t first, uint32_t n, const uint32_t *entries)
{
  struct scan *c = opaque;
  const unsigned bits = c->s->table_bits;
  const bool current = file_is_current (c);
  VixError r = VIX_OK;

  if (!entries && current) {
    c->next = first + n;
    return scan_add (c, (uint64_t) first << bits, (uint64_t) n << bits, RUN_PARENT);
  }
  for (c->next = first; r == VIX_OK && c->next < first + n; ++c->next) {
    const bool changed = !current && changed_table (c, &r);

    if (r != VIX_OK)
      return r;
    if (changed || entries)
      r = scan_entries (c, c->next, changed ? c->copy : entries + ((uint64_t) (c->next - first) << bits));
    else
      r = scan_add (c, (uint64_t) c->next << bits, table_entries (c->s), RUN_PARENT);
  }
  return r;
}

/* Walks from c->next on. */
static VixError
scan_walk (struct scan *c, uint32_t end)
{
  pthread_rwlock_rdlock (&c->s->lock);
  c->epoch = c->s->epoch;
  pthread_rwlock_unlock (&c->s->lock);
  return walk_tables (c->s, c->s->gd, c->next, end, scan_tables, c);
}

VixError
sparse_scan (struct extent *e, uint64_t start, uint64_t count, scan_function *f, void *opaque)
{
  struct sparse *s = (struct sparse *) e;
  const unsigned bits = s->grain_bits + s->table_bits;
  const uint32_t end = (uint32_t) ((start + count - 1) >> bits) + 1;
  CLEANUP_FREE uint32_t *copy = malloc (s->table_bytes);
  struct scan c = { .s = s, .next = (uint32_t) (start >> bits), .start = start, .end = start + count, .copy = copy,
                    .f = f, .opaque = opaque };
  VixError r = copy ? SCAN_AGAIN : report_no_memory ();

  while (r == SCAN_AGAIN)
    r = scan_walk (&c, end);
  if (r == VIX_OK && c.count > 0)
    r = f (opaque, c.first, c.count, c.kind);
  return r;
}
