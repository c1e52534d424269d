/* One extent of a link, whatever its format.  A format is one file: it opens an extent and answers through these calls.
 * Sectors are counted from the start of the extent unless said otherwise. */
#ifndef ENGINE_EXTENT_H
#define ENGINE_EXTENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "formats/descriptor.h"
#include "base/io.h"

struct extent;

enum run_kind {
  RUN_DATA, /* in the extent's file */
  RUN_ZERO, /* zeros, whatever the parent has */
  RUN_PARENT, /* not here: the parent's, or zeros */
};

/* Sectors that lie one behind the other, all of one kind. */
struct run {
  enum run_kind kind;
  uint64_t count; /* sectors */
  uint64_t offset; /* RUN_DATA: byte in the file */
  struct extent *extent; /* this and start, in the extent, are set by the caller of map */
  uint64_t start;
};

/* Content below a link, for the sectors of a new grain that a write does not cover. */
struct backing {
  VixError (*read) (const struct backing *b, uint64_t start, uint64_t count, uint8_t *buf);
  void *link; /* the parent; NULL: zeros */
  uint64_t start; /* of the extent in its link */
  bool missing; /* the parent was not opened: such a write must fail */
};

/* Takes consecutive runs; what is not VIX_OK ends the scan. */
typedef VixError scan_function (void *opaque, uint64_t start, uint64_t count, enum run_kind kind);

/* What is to be done to an extent beyond giving back the space at its file's end that nothing uses. */
struct compaction {
  bool free_zeros; /* grains of zeros go; nothing may show through from below */
  bool sort; /* grains in the order of the disk */

  /* Called where the extent is consistent: so much of the work is done.  Other threads may read, write and flush it
   * before this returns.  Not VIX_OK: no more is begun. */
  VixError (*pause) (void *opaque, uint64_t done, uint64_t total);
  void *opaque;
};

struct extent_ops {
  /* The first run of [start, start+count).  nowait: DISK_WOULD_BLOCK if the tables are not in memory. */
  VixError (*map) (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run);

  /* All runs of [start, start+count), for questions about large areas; NULL: map does. */
  VixError (*scan) (struct extent *e, uint64_t start, uint64_t count, scan_function *f, void *opaque);

  /* Content of a data run, for formats that do not keep it as it is; NULL: bytes from run->offset on. */
  VixError (*read) (struct extent *e, const struct run *run, uint8_t *buf);

  /* NULL: the format is only read. */
  VixError (*write) (struct extent *e, uint64_t start, uint64_t count, const uint8_t *buf, const struct backing *below);

  /* Everything written so far is on stable storage afterwards. */
  VixError (*flush) (struct extent *e);

  /* Moves grains in the file, which gets no larger but for writes during pauses.  This thread has the extent alone,
   * except in pauses.  NULL: nothing can be moved. */
  VixError (*compact) (struct extent *e, const struct compaction *job);

  /* Flushes and frees, in any case. */
  VixError (*close) (struct extent *e);

  /* Writes must come from front to back, nearly. */
  bool in_order;
};

/* Formats put this first into their own structure. */
struct extent {
  const struct extent_ops *ops;
  struct file *file; /* owned; NULL: no file behind it */
  uint64_t start; /* in the link */
  uint64_t sectors;
};

/* What a format needs to open an extent.  On success it owns the file. */
struct extent_source {
  struct file *file;
  const struct extent_line *line;
  const char *where; /* descriptor, for messages */
  bool embedded; /* the file holds the descriptor, too */
  size_t of;     /* so many extents share the memory that the disk may take */
};

VixError flat_open (const struct extent_source *source, struct extent **out);
VixError sparse_open (const struct extent_source *source, struct extent **out);
VixError cowd_open (const struct extent_source *source, struct extent **out);
VixError sesparse_open (const struct extent_source *source, struct extent **out);
VixError zero_open (const struct extent_source *source, struct extent **out);

#endif
