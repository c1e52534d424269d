/* Moving the grains of an open extent: what compact*.c share.  Places of grains are counted in slots: grains' worths of
 * sectors from the start of the file. */
#ifndef ENGINE_SPARSE_COMPACT_H
#define ENGINE_SPARSE_COMPACT_H

#include "formats/sparse/sparse.h"

#define SLOT_FREE 0u
#define SLOT_FIXED UINT32_MAX /* holds header, descriptor, directories or tables, or is reserved */

struct move {
  uint64_t grain;
  uint64_t from, to; /* slots; to is free, and was so when the tables were last stored */
};

struct compactor {
  struct sparse *s;
  const struct compaction *job;
  uint32_t *owners;     /* per slot: SLOT_FREE, SLOT_FIXED, or the number of its grain + 1 */
  uint64_t n_owners;    /* slots of the file when the tables were last looked through */
  uint64_t grains;      /* that have a slot in owners */
  uint8_t *in_use;      /* one bit for each table that has entries */
  struct move *moves;   /* to be made together */
  uint32_t n_moves, max_moves;
  uint8_t *buffer;
  bool unknown; /* a commit failed when it had begun to change entries: owners may be wrong */
};

/* Goes through the entries that are not 0, in the order of the disk. */
struct cursor {
  uint64_t grain;    /* next to look at */
  uint32_t *entries; /* copy of its table, little-endian */
  uint32_t index;    /* of that; NO_TABLE: the copy is out of date */
};

#define NO_TABLE UINT32_MAX
#define COPY_BYTES (1u << 20) /* of buffer */

static inline bool
slot_has_grain (const struct compactor *c, uint64_t slot)
{
  return c->owners[slot] != SLOT_FREE && c->owners[slot] != SLOT_FIXED;
}

/* compact_map.c. */

/* Flushes and looks through the tables: owners knows all slots of the file afterwards.  VIX_E_DISK_NEEDSREPAIR. */
VixError compact_look (struct compactor *c);

/* Makes room in owners for free slots up to n. */
VixError compact_extend (struct compactor *c, uint64_t n);

/* Sets entry and moves at->grain behind it; entry 0: there is no more. */
VixError compact_next (struct compactor *c, struct cursor *at, uint32_t *entry);

/* compact_move.c. */

/* True if tables must be stored before more are changed. */
static inline bool
compact_many_changes (const struct sparse *s)
{
  return atomic_load (&s->n_dirty) > s->max_tables / 2;
}

/* Sets the entry of a grain in memory. */
VixError compact_set_entry (struct sparse *s, uint64_t grain, uint32_t entry);

/* Makes the moves and stores the tables; the slots that grains came from may be overwritten afterwards. */
VixError compact_commit (struct compactor *c);

/* compact_zeros.c, compact_sort.c: the two kinds of work, in steps with pauses.  done and total as for a pause. */
VixError compact_free_zeros (struct compactor *c, uint64_t total);
VixError compact_sort (struct compactor *c);

#endif
