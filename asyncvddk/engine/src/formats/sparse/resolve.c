/* What an entry should be where a grain table and its redundant copy differ, or where two entries lead to one grain.
 * What readers see comes first: the grain table's entry, unless it is certainly wrong.  Nothing that was decided can be
 * decided otherwise when a repair was interrupted and is made again: of two copies one stays as it is. */
#define _GNU_SOURCE
#include "formats/sparse/check.h"

#include <stdlib.h>
#include <string.h>

#define ULL(n) ((unsigned long long) (n))

/* The entry that is looked at. */
struct entry {
  uint32_t index, i;
  uint32_t ours, theirs; /* in the grain table and in its copy */
};

/* Tells one finding about an entry. */
static void
tell (const struct scan *c, const struct entry *e, enum severity severity, const char *what, const char *remedy)
{
  const struct sparse *s = c->s;
  const uint64_t start = scan_grain (c, e->index, e->i) << s->grain_bits;

  finding (c->findings, severity,
           "%s: grain table %u, entry %u (byte %llu) leads to sector %u, its redundant copy to sector %u: %s; "
           "sectors %llu to %llu of the disk; %s",
           s->base.file->path, e->index, e->i, ULL (scan_byte (c, e->index, e->i)), e->ours, e->theirs,
           what, ULL (start), ULL (start + grain_sectors (s) - 1), remedy);
}

/* A grain of its own for the entry, with the content that it has now. */
static uint32_t
copy_grain (struct scan *c, const struct entry *e, uint32_t sector, const char *what)
{
  const uint64_t position = c->copies_at + ((uint64_t) c->n_copies << c->s->grain_bits);

  if (c->n_copies == SCAN_MAX_COPIES || position > SPARSE_MAX_FILE_SECTORS - grain_sectors (c->s)) {
    tell (c, e, FOUND_LOSS, what, "too many to be copied");
    return sector;
  }
  tell (c, e, FOUND_DAMAGE, what, "a repair copies the grain for these sectors");
  if (c->copies)
    c->copies[c->n_copies] = sector;
  ++c->n_copies;
  return (uint32_t) position;
}

/* The table and its copy say the same. */
static uint32_t
resolve_agreed (struct scan *c, const struct entry *e)
{
  switch (scan_place (c, e->ours)) {
  case PLACE_CROOKED: return copy_grain (c, e, e->ours, "no multiple of the grain size");
  case PLACE_GRAIN: break;
  default: return e->ours;
  }
  if (!bit_test (c->shared, e->ours >> c->s->grain_bits))
    return e->ours;
  if (bit_set (c->owned, e->ours >> c->s->grain_bits))
    return copy_grain (c, e, e->ours,
                       "the grain is in use twice; whose content it has, nobody knows, and both keep it");
  tell (c, e, FOUND_DAMAGE, "the grain is in use twice", "they keep it");
  return e->ours;
}

/* True if the entry leads to a grain that no other entry certainly has. */
static bool
is_free_grain (const struct scan *c, uint32_t entry)
{
  return scan_place (c, entry) == PLACE_GRAIN && !bit_test (c->used, entry >> c->s->grain_bits);
}

/* The grain is this entry's from now on. */
static uint32_t
take (struct scan *c, const struct entry *e, uint32_t entry, bool unfinished)
{
  tell (c, e, unfinished && c->unclean ? FOUND_UNFINISHED : FOUND_DAMAGE,
        unfinished && c->unclean ? "a writer was interrupted" : "one of them is damaged",
        entry == e->ours ? "a repair takes the first" : "a repair takes the second");
  if (scan_place (c, entry) == PLACE_GRAIN) {
    bit_set (c->used, entry >> c->s->grain_bits);
    scan_tail (c, e->index, e->i, entry);
  }
  return entry;
}

static uint32_t
resolve_different (struct scan *c, const struct entry *e)
{
  const enum place ours = scan_place (c, e->ours), theirs = scan_place (c, e->theirs);

  if (is_free_grain (c, e->ours))
    return take (c, e, e->ours, theirs == PLACE_BLANK || is_free_grain (c, e->theirs));
  if (is_free_grain (c, e->theirs) && !bit_test (c->claimed, e->theirs >> c->s->grain_bits))
    return take (c, e, e->theirs, ours == PLACE_BLANK);
  if (ours == PLACE_BLANK && theirs == PLACE_BLANK)
    return take (c, e, SPARSE_GTE_ZEROED, true);
  if (ours == PLACE_BLANK || theirs == PLACE_BLANK)
    return take (c, e, ours == PLACE_BLANK ? e->ours : e->theirs, false);
  if (ours == PLACE_BAD && theirs == PLACE_BAD) {
    tell (c, e, FOUND_LOSS, "neither holds a grain", "they are lost");
    return e->ours;
  }
  return copy_grain (c, e, ours == PLACE_BAD ? e->theirs : e->ours, "the grain belongs to another entry, too");
}

/* Stores a table in the places where it is another one. */
static VixError
store (const struct scan *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant)
{
  const struct sparse *s = c->s;
  VixError r = VIX_OK;

  if (s->rgd && memcmp (c->merged, redundant, s->table_bytes) != 0)
    r = file_write (s->base.file, c->merged, s->table_bytes, le32toh (s->rgd[index]) * SECTOR_SIZE);
  if (r == VIX_OK && memcmp (c->merged, entries, s->table_bytes) != 0)
    r = file_write (s->base.file, c->merged, s->table_bytes, le32toh (s->gd[index]) * SECTOR_SIZE);
  return r;
}

VixError
scan_resolve (struct scan *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant)
{
  for (uint32_t i = 0; i < table_entries (c->s); ++i) {
    const struct entry e = { index, i, le32toh (entries[i]), le32toh (redundant[i]) };

    if ((e.ours | e.theirs) == 0)
      c->merged[i] = 0;
    else if (scan_is_past_end (c, index, i))
      c->merged[i] = c->whole ? 0 : entries[i];
    else
      c->merged[i] = htole32 (e.ours == e.theirs ? resolve_agreed (c, &e) : resolve_different (c, &e));
  }
  return c->write ? store (c, index, entries, redundant) : VIX_OK;
}
