/* Grains in the order of the disk, from the first slot that may hold one.
 *
 * In steps: of the grains that follow in order so many are taken as fit into the free slots.  What lies where they belong
 * and is something else goes to free slots behind; then these places are free, and the grains go there.  The slots that
 * they leave are free for the next step, so the free slots never get fewer.  If the file has too few it is made longer,
 * by at most STEP_BYTES.  No grain is moved out of the way more often than there are steps' places, one for each grain:
 * all in all at most twice as much is written as there are grains out of place.
 *
 * Grains that come in a pause lie behind the end that the file had; they are not in the plan. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "formats/sparse/compact.h"

struct sorter {
  struct compactor *c;
  struct cursor at;
  uint64_t next;    /* slot where the next grain in order belongs, or one behind that cannot hold a grain */
  uint64_t limit;   /* no planned grain lies at this slot or behind */
  uint64_t *spare;  /* free slots behind next, at least as many as a step has moves */
  uint32_t n_spare;
};

/* The grain in order that lies at slot belongs to *place. */
static bool
next_place (struct sorter *t, uint64_t *place)
{
  while (t->next < t->limit && t->c->owners[t->next] == SLOT_FIXED)
    ++t->next;
  *place = t->next++;
  return *place < t->limit;
}

/* The next planned grain and its place; move->grain is that of none when there is no more. */
static VixError
next_grain (struct sorter *t, struct move *move, bool *found)
{
  const struct sparse *s = t->c->s;
  uint32_t entry;

  *found = false;
  for (;;) {
    VixError r = compact_next (t->c, &t->at, &entry);

    if (r != VIX_OK || entry == 0)
      return r;
    *move = (struct move){ .grain = t->at.grain - 1, .from = entry >> s->grain_bits };
    if ((entry == SPARSE_GTE_ZEROED && s->zeroed_grains) || move->from >= t->limit)
      continue;
    *found = next_place (t, &move->to);
    return VIX_OK;
  }
}

/* How many grains are out of place, from the first one on. */
static VixError
count_misplaced (struct sorter *t, uint64_t *n)
{
  struct move move;
  bool found = true;
  VixError r = VIX_OK;

  *n = 0;
  while (r == VIX_OK && found) {
    r = next_grain (t, &move, &found);
    *n += r == VIX_OK && found && move.from != move.to;
  }
  t->at.grain = 0;
  t->next = 0;
  return r;
}

/* The next grains that are out of place, and where they belong. */
static VixError
plan_step (struct sorter *t)
{
  struct compactor *c = t->c;
  bool found = true;
  VixError r = VIX_OK;

  c->n_moves = 0;
  t->at.index = NO_TABLE;
  while (r == VIX_OK && found && c->n_moves < c->max_moves) {
    struct move *move = &c->moves[c->n_moves];

    r = next_grain (t, move, &found);
    if (r == VIX_OK && found && move->from != move->to)
      ++c->n_moves;
  }
  return r;
}

/* Turns the planned moves into those of what is in their way, to spare slots. */
static void
plan_eviction (struct sorter *t)
{
  struct compactor *c = t->c;
  uint32_t n = 0, kept = 0;

  for (uint32_t i = 0; i < t->n_spare; ++i)
    if (t->spare[i] >= t->next)
      t->spare[kept++] = t->spare[i];
  t->n_spare = kept;
  for (uint32_t i = 0; i < c->n_moves; ++i) {
    const uint64_t place = c->moves[i].to;

    if (slot_has_grain (c, place) && t->n_spare > 0)
      c->moves[n++] = (struct move){ c->owners[place] - 1ull, place, t->spare[--t->n_spare] };
  }
  c->n_moves = n;
}

/* Makes the places of the next grains free, then moves the grains there. */
static VixError
sort_step (struct sorter *t, uint64_t *moved)
{
  struct compactor *c = t->c;
  const uint64_t first_grain = t->at.grain, first_place = t->next;
  VixError r = plan_step (t);

  if (r == VIX_OK) {
    plan_eviction (t);
    r = compact_commit (c);
  }
  t->at.grain = first_grain;
  t->next = first_place;
  if (r == VIX_OK)
    r = plan_step (t);
  *moved = c->n_moves;
  for (uint32_t i = 0; r == VIX_OK && i < c->n_moves && t->n_spare < 2 * c->max_moves; ++i)
    t->spare[t->n_spare++] = c->moves[i].from;
  return r == VIX_OK ? compact_commit (c) : r;
}

/* Finds free slots for a step of n moves, or of fewer if the file cannot be made longer. */
static VixError
find_spare (struct sorter *t, uint64_t n)
{
  struct compactor *c = t->c;
  const uint64_t most = SPARSE_MAX_FILE_SECTORS >> c->s->grain_bits;
  uint64_t free_slots = 0;
  VixError r = VIX_OK;

  n = n < c->max_moves ? n : c->max_moves;
  for (uint64_t slot = 0; slot < t->limit; ++slot)
    free_slots += c->owners[slot] == SLOT_FREE;
  if (free_slots < n && t->limit < most) {
    const uint64_t more = n - free_slots < most - t->limit ? n - free_slots : most - t->limit;

    t->limit += more;
    free_slots += more;
    r = compact_extend (c, t->limit);
    if (r == VIX_OK)
      atomic_store (&c->s->end, t->limit << c->s->grain_bits);
  }
  if (free_slots == 0)
    r = report (VIX_E_FILE_TOO_BIG, "%s: has no room for a grain more, which sorting needs", c->s->base.file->path);
  c->max_moves = (uint32_t) (free_slots < n ? free_slots : n);
  for (uint64_t slot = t->limit; r == VIX_OK && slot-- > 0 && t->n_spare < 2 * c->max_moves;)
    if (c->owners[slot] == SLOT_FREE)
      t->spare[t->n_spare++] = slot;
  return r;
}

static VixError
sort_misplaced (struct sorter *t, uint64_t total)
{
  const struct compaction *job = t->c->job;
  uint64_t moved = 1, done = 0;
  VixError r = find_spare (t, total);

  while (r == VIX_OK && moved > 0) {
    r = sort_step (t, &moved);
    done += moved;
    if (r == VIX_OK && moved > 0)
      r = job->pause (job->opaque, done, total);
  }
  return r;
}

VixError
compact_sort (struct compactor *c)
{
  CLEANUP_FREE uint32_t *entries = malloc (c->s->table_bytes);
  CLEANUP_FREE uint64_t *spare = calloc (2ull * c->max_moves, sizeof *spare);
  const uint32_t max_moves = c->max_moves;
  struct sorter t = {
    .c = c, .at = { .entries = entries, .index = NO_TABLE }, .limit = c->n_owners, .spare = spare
  };
  uint64_t misplaced = 0;
  VixError r = entries && spare ? count_misplaced (&t, &misplaced) : report_no_memory ();

  if (r == VIX_OK && misplaced > 0)
    r = sort_misplaced (&t, misplaced);
  c->max_moves = max_moves;
  return r;
}
