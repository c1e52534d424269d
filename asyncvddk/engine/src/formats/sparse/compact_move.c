/* Moves of grains that are made together: contents, then tables. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "formats/sparse/compact.h"

VixError
compact_set_entry (struct sparse *s, uint64_t grain, uint32_t entry)
{
  struct table *t;
  VixError r = cache_change (s, (uint32_t) (grain >> s->table_bits), &t);

  if (r != VIX_OK)
    return r;
  t->entries[grain & (table_entries (s) - 1)] = htole32 (entry);
  cache_changed (s, t);
  pthread_rwlock_unlock (&s->lock);
  return VIX_OK;
}

/* How many of the moves from i on are of neighbours to neighbours, as many as fit into the buffer. */
static uint32_t
neighbours (const struct compactor *c, uint32_t i)
{
  const struct move *m = c->moves + i;
  const uint64_t max = COPY_BYTES / SECTOR_SIZE >> c->s->grain_bits;
  uint32_t n = 1;

  while (i + n < c->n_moves && n < max && m[n].from == m->from + n && m[n].to == m->to + n)
    ++n;
  return n;
}

static VixError
copy_grains (const struct compactor *c)
{
  const struct file *f = c->s->base.file;
  const uint64_t bytes = grain_sectors (c->s) * SECTOR_SIZE;
  VixError r = VIX_OK;

  for (uint32_t i = 0, n; r == VIX_OK && i < c->n_moves; i += n) {
    n = neighbours (c, i);
    r = file_read (f, c->buffer, n * bytes, c->moves[i].from * bytes);
    if (r == VIX_OK)
      r = file_write (f, c->buffer, n * bytes, c->moves[i].to * bytes);
  }
  return r;
}

/* The file has the grains at both places now.  Every table may be stored at any time. */
static VixError
set_entries (const struct compactor *c)
{
  struct sparse *s = c->s;
  VixError r = VIX_OK;

  for (uint32_t i = 0; r == VIX_OK && i < c->n_moves; ++i) {
    if (compact_many_changes (s))
      r = sparse_store_tables (s);
    if (r == VIX_OK)
      r = compact_set_entry (s, c->moves[i].grain, (uint32_t) (c->moves[i].to << s->grain_bits));
  }
  return r == VIX_OK ? sparse_store_tables (s) : r;
}

/* A mistake in a plan must not cost a grain. */
static VixError
check_targets (const struct compactor *c)
{
  for (uint32_t i = 0; i < c->n_moves; ++i)
    if (c->moves[i].to >= c->n_owners || c->owners[c->moves[i].to] != SLOT_FREE)
      return report (VIX_E_FAIL, "%s: sector %llu is in use and was to be overwritten; please report this",
                     c->s->base.file->path, (unsigned long long) (c->moves[i].to << c->s->grain_bits));
  return VIX_OK;
}

VixError
compact_commit (struct compactor *c)
{
  struct sparse *s = c->s;
  VixError r = check_targets (c);

  if (r == VIX_OK && c->n_moves > 0)
    r = sparse_mark_unclean (s);
  if (r != VIX_OK || c->n_moves == 0)
    return r;
  r = copy_grains (c);
  if (r == VIX_OK)
    r = file_sync (s->base.file);
  if (r == VIX_OK) {
    r = set_entries (c);
    c->unknown = r != VIX_OK;
  }
  for (uint32_t i = 0; r == VIX_OK && i < c->n_moves; ++i) {
    c->owners[c->moves[i].from] = SLOT_FREE;
    c->owners[c->moves[i].to] = (uint32_t) c->moves[i].grain + 1;
  }
  c->n_moves = 0;
  return r;
}
