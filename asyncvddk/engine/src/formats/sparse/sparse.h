/* An open hosted sparse extent, shared by the files of this folder. */
#ifndef ENGINE_SPARSE_H
#define ENGINE_SPARSE_H

#include <endian.h>
#include <pthread.h>

#include "formats/extent.h"
#include "formats/sparse/format.h"

/* One cached grain table. */
struct table {
  uint32_t index;    /* which of the grain directory */
  bool dirty;        /* holds entries that the file does not; never evicted then */
  bool compared;     /* equal to its redundant copy */
  uint32_t version;  /* changes so far */
  atomic_bool used;  /* since the clock's hand passed */
  uint32_t *entries; /* little-endian; NULL: slot never used */
};

/* Grains that a writer is allocating. */
struct range {
  uint64_t first, end;
  struct range *next;
};

struct sparse {
  struct extent base;
  unsigned grain_bits, table_bits; /* log2 of sectors per grain and of entries per table */
  uint32_t table_sectors;
  size_t table_bytes;
  uint32_t n_tables;
  bool redundant, zeroed_grains;
  bool compressed; /* entries lead to compressed grains, one by one */
  uint64_t first_grain; /* no grain lies before this sector */
  uint64_t gd_offset, rgd_offset, descriptor_end;
  bool found_unclean; /* when it was opened */
  bool verified;      /* all tables were checked when it was opened for writing */

  _Atomic uint64_t end; /* sector where the next grain goes; for reading, where the file ends */

  pthread_rwlock_t lock; /* guards gd, rgd, the cache and the entries in it; never held over I/O */
  uint32_t *gd, *rgd;    /* little-endian; rgd only when opened for writing */
  uint16_t *slots;       /* per table: slot in tables + 1, 0 if not cached */
  struct table *tables;
  uint32_t max_tables, hand;
  uint32_t n_cached, wanted_tables; /* more than wanted only if that many are changed */
  uint32_t epoch; /* flushes so far: a table read from the file before one may be out of date after it */
  _Atomic uint32_t n_dirty;
  _Atomic uint64_t pending; /* sectors allocated since the last flush */

  pthread_mutex_t flushing;   /* one flush at a time */
  pthread_mutex_t allocation; /* guards ranges, unclean, creation of tables */
  pthread_cond_t released;    /* a range went */
  struct range *ranges;
  bool unclean;         /* uncleanShutdown was set by us */
  atomic_bool unsynced; /* written since the last fdatasync */

  struct stream_writer *writer; /* of a stream that is being written; NULL else */
};

static inline uint64_t
round_up (uint64_t n, uint64_t to)
{
  return (n + to - 1) / to * to;
}

static inline uint64_t
grain_sectors (const struct sparse *s)
{
  return 1ull << s->grain_bits;
}

static inline uint64_t
directory_sectors (const struct sparse *s)
{
  return round_up (4ull * s->n_tables, SECTOR_SIZE) / SECTOR_SIZE;
}

static inline uint32_t
table_entries (const struct sparse *s)
{
  return 1u << s->table_bits;
}

/* header.c: reads and judges the header. */
VixError sparse_read_header (const struct file *f, struct sparse_header *h);

/* The same without the places of the directories. */
VixError sparse_read_fields (const struct file *f, struct sparse_header *h);

/* True if a directory at this sector lies inside the file, and not on the descriptor. */
bool sparse_directory_fits (const struct file *f, const struct sparse_header *h, uint64_t offset);

/* To the byte order of this machine, and back. */
void sparse_swap_header (struct sparse_header *h);

/* The header against its extent line.  *interrupted: the extent was about to grow, its capacity in h is that of the line
 * now. */
VixError sparse_check_header (const struct file *f, struct sparse_header *h, uint64_t line_sectors, bool *interrupted);

/* The place of the grain directory, which is that of the footer for some. */
VixError sparse_check_directory (const struct file *f, const struct sparse_header *h);

/* cache.c.  cache_find and cache_changed need the lock; the others take it.  cache_change leaves it taken for writing on
 * success, so that entries of the table can be set; each change is noted by cache_changed. */
VixError cache_init (struct sparse *s, size_t extents);
void cache_free (struct sparse *s);
struct table *cache_find (struct sparse *s, uint32_t index);
VixError cache_load (struct sparse *s, uint32_t index, bool nowait);
VixError cache_change (struct sparse *s, uint32_t index, struct table **t);
void cache_changed (struct sparse *s, struct table *t);

/* A table of zeros that the file does not have yet: it counts as changed. */
VixError cache_add (struct sparse *s, uint32_t index);

/* tables.c.  Tables [first, first+n) of a directory one behind the other; entries NULL: all are zeros. */
typedef VixError table_function (void *opaque, uint32_t first, uint32_t n, const uint32_t *entries);
VixError walk_tables (struct sparse *s, const uint32_t *directory, uint32_t first, uint32_t end, table_function *f,
                      void *opaque);

/* verify.c: refuses an extent whose tables could make a write destroy other data.  Opened for writing only. */
VixError sparse_verify (struct sparse *s);
VixError sparse_compare_table (struct sparse *s, uint32_t index);

/* open.c: an extent with the header's facts and no tables; NULL when out of memory.  The file stays the caller's. */
struct sparse *sparse_new (const struct extent_source *source, const struct sparse_header *h);
void sparse_free (struct sparse *s);

/* Refuses an extent of another descriptor that has one inside: a disk in a disk.  An empty area is common. */
VixError sparse_refuse_nested (const struct extent_source *source, const struct sparse_header *h);

/* create.c: the header of a new extent, as on disk. */
struct sparse_header sparse_default_header (uint64_t sectors, bool descriptor);

/* Header and empty tables of a new extent; with a descriptor inside if one is given. */
VixError create_sparse_extent (const struct file *f, uint64_t sectors, const char *descriptor, size_t descriptor_len);

/* Size of the file that it makes, in sectors. */
uint64_t sparse_empty_sectors (uint64_t sectors, bool descriptor);

/* grow.c: a larger capacity in the header, tables for it; e is only to be closed then.  To go back, write the header's
 * sector as it was, then cut the file.  sparse_check_growth: VIX_E_FILE_TOO_BIG before anything changes. */
VixError sparse_grow (struct extent *e, uint64_t sectors);

/* The header could not be written back: closing leaves the mark that lets it be larger than the extent line. */
void sparse_stay_unclean (struct extent *e);
VixError sparse_check_growth (const struct extent *e, uint64_t sectors);

/* map.c. */
VixError sparse_map (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run);
VixError sparse_scan (struct extent *e, uint64_t start, uint64_t count, scan_function *f, void *opaque);

/* write.c, flush.c. */
VixError sparse_write (struct extent *e, uint64_t start, uint64_t count, const uint8_t *buf,
                       const struct backing *below);
VixError sparse_mark_unclean (struct sparse *s);
VixError sparse_flush (struct extent *e);
VixError sparse_store_tables (struct sparse *s);
VixError sparse_finish (struct sparse *s);

/* open.c: struct extent_ops' close, for streams, too. */
VixError sparse_close (struct extent *e);

/* compact.c. */
VixError sparse_compact (struct extent *e, const struct compaction *job);

#endif
