/* Every entry of every grain table, against its redundant copy and against all others.  Two entries on one grain, or a
 * grain on a table, would let a write destroy other data.  Memory: a few bits for each grain of the file; tables are
 * read in a stream, once to see who uses what, and once more if something must be decided. */
#define _GNU_SOURCE
#include "formats/sparse/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define BITMAPS 5
#define ULL(n) ((unsigned long long) (n))

/* Sectors that no grain may lie on. */
static void
note_metadata (struct scan *c, uint64_t start, uint64_t count)
{
  const uint64_t end = start + count < c->limit ? start + count : c->limit;

  for (uint64_t n = start >> c->s->grain_bits; n << c->s->grain_bits < end; ++n)
    bit_set (c->metadata, n);
}

static void
note_directory (struct scan *c, const uint32_t *directory, uint64_t offset)
{
  note_metadata (c, offset, round_up (4ull * c->s->n_tables, SECTOR_SIZE) / SECTOR_SIZE);
  for (uint32_t i = 0; i < c->s->n_tables; ++i)
    if (directory[i] != 0)
      note_metadata (c, le32toh (directory[i]), c->s->table_sectors);
}

VixError
scan_init (struct scan *c, struct sparse *s, struct findings *findings)
{
  const uint64_t end = atomic_load (&s->end);
  size_t bytes;

  *c = (struct scan){ .s = s, .findings = findings, .unclean = s->found_unclean };
  c->limit = end < SPARSE_MAX_FILE_SECTORS ? end : SPARSE_MAX_FILE_SECTORS;
  bytes = (c->limit >> s->grain_bits >> 3) + 1;
  c->metadata = calloc (BITMAPS, bytes);
  c->zeros = calloc (2, s->table_bytes);
  if (!c->metadata || !c->zeros)
    return report_no_memory ();
  c->used = c->metadata + bytes;
  c->claimed = c->used + bytes;
  c->shared = c->claimed + bytes;
  c->owned = c->shared + bytes;
  c->merged = c->zeros + table_entries (s);
  note_metadata (c, 0, s->descriptor_end);
  if (s->gd_offset)
    note_directory (c, s->gd, s->gd_offset);
  if (s->rgd && s->rgd_offset)
    note_directory (c, s->rgd, s->rgd_offset);
  return VIX_OK;
}

void
scan_free (struct scan *c)
{
  free (c->metadata);
  free (c->zeros);
  free (c->copies);
  c->metadata = NULL;
  c->zeros = c->copies = NULL;
}

enum place
scan_place (const struct scan *c, uint32_t entry)
{
  const struct sparse *s = c->s;
  const uint64_t last = (uint64_t) entry + grain_sectors (s) - 1;

  if (entry == 0 || (entry == SPARSE_GTE_ZEROED && s->zeroed_grains))
    return PLACE_BLANK;
  if (entry < s->first_grain || entry >= c->limit || bit_test (c->metadata, entry >> s->grain_bits))
    return PLACE_BAD;
  if ((entry & (grain_sectors (s) - 1)) == 0)
    return PLACE_GRAIN;
  return last < s->base.file->size / SECTOR_SIZE && !bit_test (c->metadata, last >> s->grain_bits) ? PLACE_CROOKED
                                                                                                    : PLACE_BAD;
}

void
scan_tail (struct scan *c, uint32_t index, uint32_t i, uint32_t entry)
{
  const struct sparse *s = c->s;
  const uint64_t start = scan_grain (c, index, i) << s->grain_bits, size = s->base.file->size;
  const uint64_t left = s->base.sectors - start;
  const uint64_t needed = (left < grain_sectors (s) ? left : grain_sectors (s)) * SECTOR_SIZE;

  if (!c->whole || entry * SECTOR_SIZE + needed <= size)
    return;
  c->cut = true;
  finding (c->findings, c->unclean ? FOUND_DAMAGE : FOUND_LOSS,
           "%s: ends at byte %llu, inside the grain of sectors %llu to %llu of the disk (grain table %u, entry %u); %s",
           s->base.file->path, ULL (size), ULL (start), ULL (start + needed / SECTOR_SIZE - 1), index, i,
           c->unclean ? "its writer did not get further: a repair fills the grain with zeros"
                      : "the rest was cut off and is lost");
}

uint64_t
scan_byte (const struct scan *c, uint32_t index, uint32_t i)
{
  const struct sparse *s = c->s;

  return le32toh (s->gd[index] ? s->gd[index] : s->rgd[index]) * SECTOR_SIZE + 4ull * i;
}

/* An entry on which a table and its copy agree. */
static void
mark_agreed (struct scan *c, uint32_t index, uint32_t i, uint32_t entry)
{
  const struct sparse *s = c->s;
  const enum place place = scan_place (c, entry);
  const uint64_t start = scan_grain (c, index, i) << s->grain_bits;

  if (place == PLACE_BAD)
    finding (c->findings, FOUND_LOSS,
             "%s: grain table %u, entry %u (byte %llu): sector %u holds no grain (grains lie from %llu to %llu); "
             "sectors %llu to %llu of the disk are lost",
             s->base.file->path, index, i, ULL (scan_byte (c, index, i)), entry,
             ULL (s->first_grain), ULL (c->limit), ULL (start), ULL (start + grain_sectors (s) - 1));
  else if (place == PLACE_CROOKED)
    ++c->n_shared;
  else if (place == PLACE_GRAIN) {
    if (bit_set (c->used, entry >> s->grain_bits)) {
      bit_set (c->shared, entry >> s->grain_bits);
      ++c->n_shared;
    }
    scan_tail (c, index, i, entry);
  }
}

/* Who uses what, as far as it is certain. */
static VixError
mark_pair (struct scan *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant)
{
  const bool same = memcmp (entries, redundant, c->s->table_bytes) == 0;

  for (uint32_t i = 0; i < table_entries (c->s); ++i) {
    const uint32_t entry = le32toh (entries[i]);

    if (same && entry == 0)
      continue;
    if (scan_is_past_end (c, index, i))
      c->past_end += entry != 0 || redundant[i] != 0;
    else if (entries[i] == redundant[i])
      mark_agreed (c, index, i, entry);
    else {
      ++c->undecided;
      if (scan_place (c, entry) == PLACE_GRAIN)
        bit_set (c->claimed, entry >> c->s->grain_bits);
    }
  }
  return VIX_OK;
}

/* One table of an area and its copy; NULL for zeros.  A table without a copy is its own. */
static VixError
visit_pair (struct scan *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant)
{
  const struct sparse *s = c->s;

  entries = entries ? entries : c->zeros;
  redundant = redundant ? redundant : c->zeros;
  if (!s->rgd || s->rgd[index] == 0)
    redundant = entries;
  else if (s->gd[index] == 0)
    entries = redundant;
  return entries == c->zeros && redundant == c->zeros ? VIX_OK : c->visit (c, index, entries, redundant);
}

/* table_function for the redundant tables; c->entries has the others. */
static VixError
visit_redundant (void *opaque, uint32_t first, uint32_t n, const uint32_t *redundant)
{
  struct scan *c = opaque;
  const unsigned bits = c->s->table_bits;
  VixError r = VIX_OK;

  if (!c->entries && !redundant)
    return VIX_OK;
  for (uint32_t i = 0; r == VIX_OK && i < n; ++i)
    r = visit_pair (c, first + i, c->entries ? c->entries + ((size_t) (first + i - c->first) << bits) : NULL,
                    redundant ? redundant + ((size_t) i << bits) : NULL);
  return r;
}

/* table_function for the grain tables. */
static VixError
visit_tables (void *opaque, uint32_t first, uint32_t n, const uint32_t *entries)
{
  struct scan *c = opaque;
  VixError r = VIX_OK;

  c->first = first;
  c->entries = entries;
  if (c->s->rgd)
    return walk_tables (c->s, c->s->rgd, first, first + n, visit_redundant, c);
  for (uint32_t i = 0; r == VIX_OK && entries && i < n; ++i)
    r = visit_pair (c, first + i, entries + ((size_t) i << c->s->table_bits), NULL);
  return r;
}

static void
judge_past_end (struct scan *c)
{
  const char *path = c->s->base.file->path;

  if (c->past_end > 0 && c->whole)
    finding (c->findings, FOUND_DAMAGE,
             "%s: %llu entries of the last grain table lead to grains behind the end of the disk; a repair clears them",
             path, ULL (c->past_end));
  else if (c->past_end > 0 && !c->write)
    engine_warn ("%s: has grains behind the end of the disk; they are ignored", path);
}

VixError
scan_tables (struct scan *c)
{
  VixError r;

  c->visit = mark_pair;
  r = walk_tables (c->s, c->s->gd, 0, c->s->n_tables, visit_tables, c);
  if (r != VIX_OK)
    return r;
  judge_past_end (c);
  if (c->undecided == 0 && c->n_shared == 0 && !(c->write && c->past_end > 0))
    return VIX_OK;
  c->visit = scan_resolve;
  return walk_tables (c->s, c->s->gd, 0, c->s->n_tables, visit_tables, c);
}

uint64_t
scan_leaks (const struct scan *c)
{
  uint64_t leaks = 0;

  for (uint64_t n = round_up (c->s->first_grain, grain_sectors (c->s)) >> c->s->grain_bits;
       n < c->limit >> c->s->grain_bits; ++n)
    leaks += !bit_test (c->used, n) && !bit_test (c->metadata, n);
  return leaks;
}
