/* Compaction of a hosted sparse extent: grains of zeros are given up, grains are put into order, the file ends behind the
 * last grain.  Header, descriptor, directories and tables stay where they are, wherever that is.
 *
 * What is safe at every moment, whatever of the unsynced writes a crash leaves (moves are made by compact_commit):
 *
 * 1. A slot is written to only while it is free: no entry of a stored table, redundant or not, leads to it.
 * 2. Many grains are copied to free slots; sync; their entries in the redundant tables, then those in the tables are
 *    changed; sync.  Until this second sync returns each entry, in each of the two tables by itself, may be found old or
 *    new after a crash, and both slots hold the grain: either is right.
 * 3. Only then the old slots count as free, and may be written to by later moves.  So when a crash finds an entry's two
 *    copies different, both still have the content; sparse_verify takes the table's.  The header says "unclean" since
 *    before the first sync, hence this mending is done on opening.
 * 4. An entry that becomes 0 leads to a grain of zeros, which stays as it is until the tables are stored; found old in
 *    one copy and 0 in the other, either reads the same.
 * 5. The file is cut when the tables are stored, behind the last slot that is in use.
 *
 * When the tables cannot be written the entries in memory are right: the next flush tries again, and nothing that the
 * old ones lead to is touched.  What another thread allocates in a pause lies behind the file's end, as always; it is
 * looked for at the end, when no pause comes any more, and moved to what is free before. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "formats/sparse/compact.h"

/* Grains that are moved with one sync of the file, and the most by which sorting lengthens it, unless the configuration
 * says otherwise. */
#define STEP_BYTES (32ull << 20)

/* The slot behind the last one that is needed when no free one is left before it. */
static uint64_t
packed_end (const struct compactor *c)
{
  uint64_t slot = 0;

  for (uint64_t left = c->grains; left > 0 && slot < c->n_owners; ++slot)
    left -= c->owners[slot] != SLOT_FIXED;
  return slot;
}

static uint64_t
count_grains (const struct compactor *c, uint64_t from)
{
  uint64_t n = 0;

  for (uint64_t slot = from; slot < c->n_owners; ++slot)
    n += slot_has_grain (c, slot);
  return n;
}

/* Moves the grains from slot end on to free slots before it, as far as there are.  pauses: total work is before so much
 * that was done, then this. */
static VixError
pack (struct compactor *c, uint64_t end, bool pauses, uint64_t before)
{
  const uint64_t total = pauses ? before + count_grains (c, end) : 0;
  uint64_t hole = 0, done = before;
  VixError r = VIX_OK;

  c->n_moves = 0;
  for (uint64_t slot = end; r == VIX_OK && slot < c->n_owners; ++slot) {
    if (!slot_has_grain (c, slot))
      continue;
    while (hole < end && c->owners[hole] != SLOT_FREE)
      ++hole;
    if (hole == end)
      break;
    c->moves[c->n_moves++] = (struct move){ c->owners[slot] - 1ull, slot, hole++ };
    ++done;
    if (c->n_moves == c->max_moves) {
      r = compact_commit (c);
      if (r == VIX_OK && pauses)
        r = c->job->pause (c->job->opaque, done, total);
    }
  }
  return r == VIX_OK ? compact_commit (c) : r;
}

/* Cuts the file behind the last slot in use.  The tables are stored. */
static VixError
cut (struct compactor *c)
{
  struct sparse *s = c->s;
  const struct file *f = s->base.file;
  uint64_t last = c->n_owners;
  struct stat st;

  while (last > 0 && c->owners[last - 1] == SLOT_FREE)
    --last;
  atomic_store (&s->end, last << s->grain_bits);
  if (fstat (f->fd, &st) == -1)
    return report_errno (errno, f->path, "stat");
  if ((uint64_t) st.st_size > s->end * SECTOR_SIZE && ftruncate (f->fd, (off_t) (s->end * SECTOR_SIZE)) == -1)
    return report_errno (errno, f->path, "cut");
  return VIX_OK;
}

static VixError
work (struct compactor *c)
{
  const uint64_t grains = c->grains;
  VixError r = VIX_OK;

  if (c->job->free_zeros)
    r = compact_free_zeros (c, 2 * grains);
  if (r == VIX_OK && c->job->sort)
    return compact_sort (c);
  return r == VIX_OK ? pack (c, packed_end (c), true, grains) : r;
}

/* What must not be left out: the space that work took, or left, goes.  No pauses.  Interrupted work keeps its moves; only
 * what lies behind the former end of the file comes back. */
static VixError
finish (struct compactor *c, bool complete, uint64_t former_end)
{
  VixError r = compact_look (c);

  if (r == VIX_OK)
    r = pack (c, complete ? packed_end (c) : former_end, false, 0);
  return r == VIX_OK ? cut (c) : r;
}

static VixError
compact (struct compactor *c)
{
  const uint64_t former_end = c->n_owners;
  VixError r = work (c), e = VIX_OK;

  if (!c->unknown)
    e = finish (c, r == VIX_OK, former_end);
  return r == VIX_OK ? e : r;
}

static uint32_t
grains_of_step (const struct sparse *s)
{
  const uint64_t bytes = config_number ("openEngine.compactStepBytes", STEP_BYTES, 1, 1ull << 30);
  const uint64_t grains = bytes / SECTOR_SIZE >> s->grain_bits;

  return grains > 0 ? (uint32_t) grains : 1;
}

VixError
sparse_compact (struct extent *e, const struct compaction *job)
{
  struct sparse *s = (struct sparse *) e;
  const uint32_t max_moves = grains_of_step (s);
  CLEANUP_FREE uint8_t *in_use = calloc (s->n_tables / 8 + 1, 1);
  CLEANUP_FREE struct move *moves = calloc (max_moves, sizeof *moves);
  CLEANUP_FREE uint8_t *buffer = malloc (COPY_BYTES);
  struct compactor c = {
    .s = s, .job = job, .in_use = in_use, .moves = moves, .max_moves = max_moves, .buffer = buffer
  };
  VixError r = in_use && moves && buffer ? VIX_OK : report_no_memory ();

  if (r == VIX_OK && (s->base.sectors - 1) >> s->grain_bits >= UINT32_MAX - 2)
    r = report (VIX_E_NOT_SUPPORTED, "%s: has too many grains to be compacted", s->base.file->path);
  if (r == VIX_OK)
    r = compact_look (&c);
  if (r == VIX_OK)
    r = compact (&c);
  free (c.owners);
  return r;
}
