/* A stream that is being written, shared by stream_write.c and stream_append.c. */
#ifndef ENGINE_STREAM_WRITER_H
#define ENGINE_STREAM_WRITER_H

#include "formats/sparse/stream.h"

#define GRAIN_BYTES (SPARSE_GRAIN_SECTORS * SECTOR_SIZE)
#define PACKED_BYTES (GRAIN_BYTES + SECTOR_SIZE) /* a grain that zlib could only make larger, with its marker */

#define WINDOW 512u /* grains, 32 MiB: not more than a table has, so that a window touches two at most */
#define BATCH 64u   /* of them are compressed together */

/* A grain of the window. */
struct slot {
  uint8_t *data;   /* NULL: not written yet */
  bool changed;    /* since it was appended */
  uint32_t sector; /* of the newest copy in the file; 0: none */
};

#define NO_TABLE UINT32_MAX

struct stream_writer {
  struct sparse *s;
  pthread_mutex_t lock; /* guards all below, the end of the file and the directory; taken before s->lock */
  struct slot slots[WINDOW]; /* grain g in slots[g % WINDOW] */
  uint64_t first;            /* grain; the window is [first, first + WINDOW) */
  uint64_t next;             /* sector of the file */
  uint32_t table;            /* that is being filled, or NO_TABLE */
  bool cut, begun;           /* the old end is gone, and that is on storage */
  uint8_t *packed;           /* BATCH times PACKED_BYTES */
};

/* The grain's slot if it has data in the window.  Needs the lock. */
static inline struct slot *
find_slot (struct stream_writer *w, uint64_t grain)
{
  struct slot *slot = &w->slots[grain % WINDOW];

  return grain >= w->first && grain < w->first + WINDOW && slot->data ? slot : NULL;
}

/* Appends what changed in [first, end), grains of the window; they stay in it.  Needs the lock. */
VixError stream_append_grains (struct stream_writer *w, uint64_t first, uint64_t end);

/* Appends the table that was being filled, if there is one.  Needs the lock. */
VixError stream_append_table (struct stream_writer *w);

/* Moves the window on to grain first: what it leaves is in the file.  Needs the lock. */
VixError stream_release (struct stream_writer *w, uint64_t first);

/* VIX_E_FILE_TOO_BIG: so many more sectors would not fit into the file. */
VixError stream_check_room (const struct stream_writer *w, uint64_t sectors);

#endif
