/* Finding and mending damage of a hosted sparse extent.  One engine of findings (scan.c) serves the opening for writing
 * (verify.c), which mends what an interrupted writer leaves, and VixDiskLib_CheckRepair (check.c, repair.c). */
#ifndef ENGINE_SPARSE_CHECK_H
#define ENGINE_SPARSE_CHECK_H

#include "formats/findings.h"
#include "formats/sparse/sparse.h"

/* Grains that a repair copies at most: more are no accident. */
#define SCAN_MAX_COPIES 16384u

/* A walk over all grain tables and their copies. */
struct scan {
  struct sparse *s;
  struct findings *findings;
  bool whole;   /* also what a writer tolerates: a grain cut by the file's end, entries behind the end of the disk */
  bool unclean; /* the last writer did not end properly */
  bool write;   /* store what was decided */

  /* One bit for each grain of the file: there is metadata; a table and its copy agree on it; a table, but not its copy,
   * leads to it; two do; the first one of those was seen. */
  uint8_t *metadata, *used, *claimed, *shared, *owned;
  uint64_t limit; /* sector behind the last grain */
  uint32_t *zeros, *merged; /* one table each */

  VixError (*visit) (struct scan *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant);
  uint32_t first;          /* table with entries[0] */
  const uint32_t *entries; /* of the grain tables; NULL: zeros */

  uint64_t undecided, n_shared, past_end;
  bool cut;         /* a grain is cut by the end of the file */
  uint32_t *copies; /* sectors of grains that need a copy, in the order of the tables; NULL: not collected */
  size_t n_copies;
  uint64_t copies_at; /* sector of the first copy */
};

/* findings: only when the scan is made, later. */
VixError scan_init (struct scan *c, struct sparse *s, struct findings *findings);
void scan_free (struct scan *c);

/* Notes metadata, then judges every entry.  A scan with write comes after one without that found no loss, on a scan
 * that was initialised anew; copies_at must be set. */
VixError scan_tables (struct scan *c);

/* Grains of the file that nothing leads to. */
uint64_t scan_leaks (const struct scan *c);

/* resolve.c: the visit that decides. */
VixError scan_resolve (struct scan *c, uint32_t index, const uint32_t *entries, const uint32_t *redundant);

/* What an entry says. */
enum place {
  PLACE_BLANK,   /* no grain: nothing stored, or zeros */
  PLACE_GRAIN,
  PLACE_CROOKED, /* readable, but no multiple of the grain size */
  PLACE_BAD
};

enum place scan_place (const struct scan *c, uint32_t entry);

/* Judges a grain that an entry leads to: is all of it in the file? */
void scan_tail (struct scan *c, uint32_t index, uint32_t i, uint32_t entry);

/* Where the entry is in the file. */
uint64_t scan_byte (const struct scan *c, uint32_t index, uint32_t i);

static inline uint64_t
scan_grain (const struct scan *c, uint32_t index, uint32_t i)
{
  return ((uint64_t) index << c->s->table_bits) + i;
}

static inline bool
scan_is_past_end (const struct scan *c, uint32_t index, uint32_t i)
{
  return scan_grain (c, index, i) << c->s->grain_bits >= c->s->base.sectors;
}

static inline bool
bit_test (const uint8_t *bits, uint64_t n)
{
  return bits[n >> 3] >> (n & 7) & 1;
}

/* Returns what it was. */
static inline bool
bit_set (uint8_t *bits, uint64_t n)
{
  const bool was = bit_test (bits, n);

  bits[n >> 3] |= (uint8_t) (1u << (n & 7));
  return was;
}

/* One of the two directories during a check. */
struct side {
  const char *name;
  uint64_t *offset;   /* in struct sparse; 0: lost, to be made anew */
  uint32_t **entries; /* in struct sparse; 0: no table, or one to be made */
  uint8_t *states;    /* per table, enum table_state */
  bool regular;       /* its tables follow it one behind the other, as far as one can tell */
  bool changed;       /* differs from the file */
};

/* A check of one extent and, if all can be mended, its repair. */
struct check {
  struct sparse *s;
  struct findings *findings;
  struct sparse_header header; /* in host order, as it should be */
  bool header_changed;
  bool standard;        /* the layout of the extent is the usual one */
  struct side sides[2]; /* GD, RGD; without redundancy only the first has entries */
  uint64_t *claims;     /* directories.c: all tables, sorted */
  size_t n_claims;
  struct scan scan;
};

/* check_header.c: the header as it should be.  VIX_OK with findings, or an error where there is nothing to go on. */
VixError check_header (const struct extent_source *source, struct findings *f, struct sparse_header *h, bool *changed);

/* directories.c: loads both directories and makes them in memory what they should be.  A loss is a finding. */
VixError check_directories (struct check *c);
void check_directories_free (struct check *c);

/* repair.c: everything found is mended. */
VixError check_repair (struct check *c);

/* check.c: VIX_OK if the check could be made; what it found is in f.  With repair all of it is mended on disk, unless
 * there was a loss: then nothing is written.  source->file stays the caller's. */
VixError sparse_check (const struct extent_source *source, bool repair, struct findings *f);

/* check_stream.c: the same for an extent whose grains are compressed; nothing is ever written. */
VixError check_stream (const struct extent_source *source, struct sparse_header *h, struct findings *f);

#endif
