/* The two directories during a check.  An entry that cannot lead to a table is replaced by the place that the layout
 * gives the table: makers of disks put tables behind their directory, one behind the other.  A directory that does not
 * follow that layout gets a new table, made from the other one, at the end of the file. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "formats/sparse/check.h"

#define ULL(n) ((unsigned long long) (n))

enum table_state { TABLE_NONE, TABLE_GOOD, TABLE_BAD };

static bool
overlaps (uint64_t a, uint64_t a_count, uint64_t b, uint64_t b_count)
{
  return a < b + b_count && b < a + a_count;
}

/* Where the layout has a table. */
static uint64_t
regular_place (const struct check *c, const struct side *side, uint32_t i)
{
  return *side->offset + directory_sectors (c->s) + (uint64_t) i * c->s->table_sectors;
}

/* True if a table at this sector would lie on those that the layout has. */
static bool
is_in_layout (const struct check *c, uint64_t sector)
{
  const uint64_t size = (uint64_t) c->s->n_tables * c->s->table_sectors;

  for (unsigned d = 0; d < 2; ++d)
    if (*c->sides[d].offset && overlaps (sector, c->s->table_sectors, regular_place (c, &c->sides[d], 0), size))
      return true;
  return false;
}

/* True if a table can be at this sector, as far as header and directories go. */
static bool
can_hold_table (const struct check *c, uint64_t sector)
{
  const struct sparse *s = c->s;

  if (sector < s->descriptor_end || sector + s->table_sectors > s->base.file->size / SECTOR_SIZE)
    return false;
  for (unsigned d = 0; d < 2; ++d)
    if (*c->sides[d].offset && overlaps (sector, s->table_sectors, *c->sides[d].offset, directory_sectors (s)))
      return false;
  return true;
}

/* Loads one directory; a lost one has no entries. */
static VixError
load (struct check *c, struct side *side)
{
  const size_t bytes = c->s->n_tables * sizeof **side->entries;
  uint32_t *entries = calloc (1, bytes);

  *side->entries = entries;
  side->states = calloc (c->s->n_tables, 1);
  if (!entries || !side->states)
    return report_no_memory ();
  if (*side->offset == 0) {
    side->changed = true;
    finding (c->findings, FOUND_DAMAGE, "%s: the %s is lost; a repair makes it anew from the other one",
             c->s->base.file->path, side->name);
    return VIX_OK;
  }
  return file_read (c->s->base.file, entries, bytes, *side->offset * SECTOR_SIZE);
}

/* Where makers of writable disks have the tables nothing else is ever put, no other table either. */
static void
judge_places (struct check *c, struct side *side)
{
  for (uint32_t i = 0; i < c->s->n_tables; ++i) {
    const uint32_t sector = le32toh ((*side->entries)[i]);
    const bool alien = c->standard && sector != regular_place (c, side, i) && is_in_layout (c, sector);

    side->states[i] = sector == 0 ? TABLE_NONE : can_hold_table (c, sector) && !alien ? TABLE_GOOD : TABLE_BAD;
  }
}

static int
by_number (const void *a, const void *b)
{
  const uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

  return x < y ? -1 : x > y;
}

/* All good entries of both directories by sector: sector, directory, index. */
static VixError
collect_claims (struct check *c)
{
  bool sorted = true;

  c->claims = malloc (2ull * c->s->n_tables * sizeof *c->claims);
  if (!c->claims)
    return report_no_memory ();
  for (unsigned d = 2; d-- > 0;) /* as they usually lie in the file */
    for (uint32_t i = 0; c->sides[d].states && i < c->s->n_tables; ++i)
      if (c->sides[d].states[i] == TABLE_GOOD) {
        c->claims[c->n_claims] = (uint64_t) le32toh ((*c->sides[d].entries)[i]) << 32 | (uint64_t) d << 31 | i;
        sorted = sorted && (c->n_claims == 0 || c->claims[c->n_claims - 1] < c->claims[c->n_claims]);
        ++c->n_claims;
      }
  if (!sorted)
    qsort (c->claims, c->n_claims, sizeof *c->claims, by_number);
  return VIX_OK;
}

/* Of two entries that lead to one table, the irregular one is bad. */
static void
judge_overlaps (struct check *c)
{
  for (size_t n = 1; n < c->n_claims; ++n)
    if ((c->claims[n] >> 32) < (c->claims[n - 1] >> 32) + c->s->table_sectors)
      for (size_t k = n - 1; k <= n; ++k) {
        const struct side *side = &c->sides[c->claims[k] >> 31 & 1];
        const uint32_t i = c->claims[k] & 0x7fffffff;

        if (c->claims[k] >> 32 != regular_place (c, side, i))
          side->states[i] = TABLE_BAD;
      }
}

/* True if the header has everything where makers of writable disks put it. */
static bool
is_standard (const struct check *c)
{
  struct sparse_header h = sparse_default_header (c->s->base.sectors, c->header.descriptor_offset != 0);

  sparse_swap_header (&h);
  return c->header.grain_size == h.grain_size && c->header.num_gtes_per_gt == h.num_gtes_per_gt
         && c->header.descriptor_size == h.descriptor_size && c->header.gd_offset == h.gd_offset
         && c->header.rgd_offset == h.rgd_offset && c->header.overhead == h.overhead;
}

/* The header says so, or most of the entries: tables are where the layout has them. */
static bool
is_regular (const struct check *c, const struct side *side)
{
  uint64_t like = 0, unlike = 0;

  for (uint32_t i = 0; *side->offset && i < c->s->n_tables; ++i)
    if (side->states[i] == TABLE_GOOD) {
      const bool same = le32toh ((*side->entries)[i]) == regular_place (c, side, i);

      like += same;
      unlike += !same;
    }
  return *side->offset && (c->standard || like >= unlike)
         && regular_place (c, side, c->s->n_tables) <= c->s->first_grain;
}

/* True if no other table lies where the layout has this one. */
static bool
is_free_place (const struct check *c, const struct side *own, uint32_t index)
{
  const uint64_t sector = regular_place (c, own, index);
  size_t low = 0, high = c->n_claims;

  while (low < high) { /* the first claim whose table ends behind sector */
    const size_t middle = (low + high) / 2;

    if ((c->claims[middle] >> 32) + c->s->table_sectors > sector)
      high = middle;
    else
      low = middle + 1;
  }
  for (; low < c->n_claims && (c->claims[low] >> 32) < sector + c->s->table_sectors; ++low) {
    const struct side *side = &c->sides[c->claims[low] >> 31 & 1];
    const uint32_t i = c->claims[low] & 0x7fffffff;

    if (!(side == own && i == index) && side->states[i] == TABLE_GOOD
        && le32toh ((*side->entries)[i]) == c->claims[low] >> 32)
      return false; /* else it was replaced */
  }
  return can_hold_table (c, sector);
}

/* Reads the table at a sector, malloc'ed; NULL if that fails. */
static uint32_t *
read_table (const struct check *c, uint64_t sector)
{
  uint32_t *entries = malloc (c->s->table_bytes);

  if (entries && file_read (c->s->base.file, entries, c->s->table_bytes, sector * SECTOR_SIZE) != VIX_OK) {
    free (entries);
    return NULL;
  }
  return entries;
}

static bool
same_tables (const struct check *c, uint64_t a, uint64_t b)
{
  CLEANUP_FREE uint32_t *first = read_table (c, a);
  CLEANUP_FREE uint32_t *second = read_table (c, b);

  return first && second && memcmp (first, second, c->s->table_bytes) == 0;
}

/* True if what stands at a sector may be a grain table, with some damage perhaps; *empty: without grains. */
static bool
is_plausible (const struct check *c, uint64_t sector, bool *empty)
{
  const struct sparse *s = c->s;
  CLEANUP_FREE uint32_t *entries = read_table (c, sector);
  uint32_t good = 0, bad = 0;

  for (uint32_t i = 0; entries && i < table_entries (s); ++i) {
    const uint32_t entry = le32toh (entries[i]);

    if (entry >= s->first_grain && entry < s->end && (entry & (grain_sectors (s) - 1)) == 0)
      ++good;
    else
      bad += entry > SPARSE_GTE_ZEROED;
  }
  *empty = good == 0;
  return entries && good >= bad;
}

/* Puts a table where the layout has it, or takes it out: a new one is made then. */
static void
replace (struct check *c, struct side *side, uint32_t i, bool regular)
{
  const uint32_t entry = le32toh ((*side->entries)[i]);
  const uint64_t place = regular ? regular_place (c, side, i) : 0;

  finding (c->findings, FOUND_DAMAGE, "%s: %s, entry %u (byte %llu): no grain table at sector %u; a repair %s",
           c->s->base.file->path, side->name, i, ULL (*side->offset * SECTOR_SIZE + 4ull * i), entry,
           regular ? "takes the table that the layout of the file has for it" : "makes a new one from its copy");
  (*side->entries)[i] = htole32 ((uint32_t) place);
  side->states[i] = regular ? TABLE_GOOD : TABLE_NONE;
  side->changed = true;
}

/* One table of a directory without a copy. */
static void
lose (struct check *c, uint32_t i)
{
  const uint64_t coverage = (uint64_t) table_entries (c->s) << c->s->grain_bits;

  finding (c->findings, FOUND_LOSS, "%s: grain table %u is lost, and its copy: sectors %llu to %llu of the disk",
           c->s->base.file->path, i, ULL (i * coverage), ULL ((i + 1) * coverage - 1));
}

static bool
has_grains (const struct check *c, uint64_t sector)
{
  bool empty;

  return is_plausible (c, sector, &empty) && !empty;
}

/* True if the two places that the layout has for a table hold one, and no other table uses them. */
static bool
has_regular_table (const struct check *c, uint32_t i)
{
  const struct side *a = &c->sides[0], *b = &c->sides[1];

  return a->regular && b->regular && is_free_place (c, a, i) && is_free_place (c, b, i)
         && (has_grains (c, regular_place (c, a, i)) || has_grains (c, regular_place (c, b, i)));
}

/* A table that neither directory has. */
static void
resolve_both (struct check *c, uint32_t i)
{
  struct side *a = &c->sides[0], *b = &c->sides[1];

  if (has_regular_table (c, i)) {
    replace (c, a, i, true);
    replace (c, b, i, true);
  }
  else if (a->states[i] == TABLE_BAD || (b->states && b->states[i] == TABLE_BAD))
    lose (c, i);
}

/* True if a table that stands where the layout does not have it is none, and the right one is in its place. */
static bool
is_stray (const struct check *c, uint64_t sector, uint64_t place, uint64_t copy)
{
  bool empty;

  return !same_tables (c, sector, copy) && (c->standard || !is_plausible (c, sector, &empty))
         && (same_tables (c, place, copy) || has_grains (c, place));
}

/* Entry i of side, whose other directory has a good table. */
static void
resolve_side (struct check *c, struct side *side, const struct side *other, uint32_t i)
{
  const uint32_t sector = le32toh ((*side->entries)[i]), copy = le32toh ((*other->entries)[i]);
  const bool regular = side->regular && sector != regular_place (c, side, i)
                       && is_free_place (c, side, i);

  if (side->states[i] != TABLE_GOOD) {
    if (*side->offset)
      replace (c, side, i, regular);
  }
  else if (regular && is_stray (c, sector, regular_place (c, side, i), copy))
    replace (c, side, i, true);
}

/* True if the only entry that could lead to table i does not lead where the layout has it, but where the layout has it
 * and its copy there is one.  (A table that was put elsewhere, because there was none, leaves both places empty.) */
static bool
is_lone_stray (const struct check *c, const struct side *side, const struct side *other, uint32_t i)
{
  const uint32_t sector = le32toh ((*side->entries)[i]);
  uint64_t place, copy;

  if (!side->regular || !other->regular || sector == regular_place (c, side, i) || !is_free_place (c, side, i)
      || !is_free_place (c, other, i))
    return false;
  place = regular_place (c, side, i);
  copy = regular_place (c, other, i);
  return (has_grains (c, place) || has_grains (c, copy)) && is_stray (c, sector, place, copy);
}

static void
resolve (struct check *c, uint32_t i)
{
  struct side *a = &c->sides[0], *b = &c->sides[1];
  bool good_a = a->states[i] == TABLE_GOOD, good_b = b->states && b->states[i] == TABLE_GOOD;

  if (good_a && b->states && !good_b && is_lone_stray (c, a, b, i)) {
    a->states[i] = TABLE_BAD;
    good_a = false;
  }
  else if (good_b && !good_a && is_lone_stray (c, b, a, i)) {
    b->states[i] = TABLE_BAD;
    good_b = false;
  }
  if (!good_a && !good_b)
    resolve_both (c, i);
  if (good_b)
    resolve_side (c, a, b, i);
  if (good_a && b->states)
    resolve_side (c, b, a, i);
}

/* Layouts that contradict each other are none. */
static void
judge_layouts (struct check *c)
{
  struct side *a = &c->sides[0], *b = &c->sides[1];
  const uint64_t size = directory_sectors (c->s) + (uint64_t) c->s->n_tables * c->s->table_sectors;

  a->regular = is_regular (c, a);
  b->regular = b->states && is_regular (c, b);
  if (a->regular && b->regular && overlaps (*a->offset, size, *b->offset, size))
    a->regular = b->regular = false;
}

VixError
check_directories (struct check *c)
{
  struct sparse *s = c->s;
  VixError r;

  c->sides[0] = (struct side){ .name = "grain directory", .offset = &s->gd_offset, .entries = &s->gd };
  c->sides[1] = (struct side){ .name = "redundant grain directory", .offset = &s->rgd_offset, .entries = &s->rgd };
  if (!s->redundant)
    s->rgd_offset = 0;
  r = load (c, &c->sides[0]);
  if (r == VIX_OK && s->redundant)
    r = load (c, &c->sides[1]);
  if (r != VIX_OK)
    return r;
  c->standard = is_standard (c);
  for (unsigned d = 0; d < 2 && c->sides[d].states; ++d)
    judge_places (c, &c->sides[d]);
  r = collect_claims (c);
  if (r != VIX_OK)
    return r;
  judge_overlaps (c);
  judge_layouts (c);
  for (uint32_t i = 0; i < s->n_tables; ++i)
    resolve (c, i);
  return VIX_OK;
}

void
check_directories_free (struct check *c)
{
  free (c->sides[0].states);
  free (c->sides[1].states);
  free (c->claims);
}
