/* Grains that hold nothing but zeros are given up: without an entry the disk reads the same. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "base/zero.h"
#include "formats/sparse/compact.h"

/* What lies behind the end of the disk in its last grain does not count. */
static VixError
grain_is_zero (const struct compactor *c, uint64_t grain, uint32_t entry, bool *zero)
{
  const struct sparse *s = c->s;
  const uint64_t left = s->base.sectors - (grain << s->grain_bits);
  const uint64_t bytes = (left < grain_sectors (s) ? left : grain_sectors (s)) * SECTOR_SIZE;
  VixError r = file_read (s->base.file, c->buffer, bytes, entry * SECTOR_SIZE);

  *zero = r == VIX_OK && is_zero (c->buffer, bytes);
  return r;
}

/* Gives the grain up if it can be.  The slot counts as free at once, but is not written to before the tables are stored,
 * when all grains were looked at. */
static VixError
free_if_zero (struct compactor *c, uint64_t grain, uint32_t entry, bool *looked)
{
  struct sparse *s = c->s;
  const uint64_t slot = entry >> s->grain_bits;
  bool zero = entry == SPARSE_GTE_ZEROED && s->zeroed_grains;
  VixError r = VIX_OK;

  *looked = !zero && slot < c->n_owners; /* else it came in a pause */
  if (*looked)
    r = grain_is_zero (c, grain, entry, &zero);
  if (r == VIX_OK && zero)
    r = sparse_mark_unclean (s);
  if (r == VIX_OK && zero && compact_many_changes (s))
    r = sparse_flush (&s->base);
  if (r == VIX_OK && zero)
    r = compact_set_entry (s, grain, 0);
  if (r == VIX_OK && zero && *looked) {
    c->owners[slot] = SLOT_FREE;
    --c->grains;
  }
  return r;
}

VixError
compact_free_zeros (struct compactor *c, uint64_t total)
{
  CLEANUP_FREE uint32_t *entries = malloc (c->s->table_bytes);
  struct cursor at = { .entries = entries, .index = NO_TABLE };
  uint32_t entry = 1;
  uint64_t done = 0;
  VixError r = entries ? VIX_OK : report_no_memory ();

  while (r == VIX_OK && entry != 0) {
    bool looked = false;

    r = compact_next (c, &at, &entry);
    if (r == VIX_OK && entry != 0)
      r = free_if_zero (c, at.grain - 1, entry, &looked);
    if (r == VIX_OK && looked && ++done % c->max_moves == 0) {
      r = c->job->pause (c->job->opaque, done, total);
      at.index = NO_TABLE;
    }
  }
  return r == VIX_OK ? compact_look (c) : r;
}
