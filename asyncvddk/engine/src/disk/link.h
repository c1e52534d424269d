/* One link of a chain: a descriptor and the extents that it lists. */
#ifndef ENGINE_LINK_H
#define ENGINE_LINK_H

#include "formats/extent.h"

struct link {
  struct link *parent; /* NULL: none, or not opened */
  char *path;          /* of the file with the descriptor, free of symbolic links */
  char *dir, *name;    /* its two parts */
  int dirfd;
  dev_t dev; /* of that file */
  ino_t ino;
  bool writable;
  struct descriptor *descriptor;
  uint64_t embedded_offset, embedded_size; /* bytes of the descriptor in the first extent's file; size 0: a text file */
  struct extent **extents; /* in the order of the disk */
  size_t n_extents;
  bool entered;             /* into the lock folder, as far as that was possible */
  struct folder_lock *lock;
};

/* Opens the link without its parents. */
VixError link_open (const char *path, bool writable, struct link **out);

/* Frees the link, not its parents; the first error of the final flushes is returned.  NULL allowed. */
VixError link_close (struct link *l);

VixError link_flush (struct link *l);

static inline uint64_t
link_sectors (const struct link *l)
{
  return l->descriptor->capacity;
}

/* The extent with this sector, which is inside the link. */
struct extent *link_extent (const struct link *l, uint64_t sector);

/* True if the content is on top of a parent's, opened or not. */
static inline bool
link_is_child (const struct link *l)
{
  return l->descriptor->parent_cid != CID_NONE;
}

/* Reads the descriptor of the file: KDMV with the descriptor inside, or text.  embedded_* as in struct link. */
VixError read_descriptor (const struct file *f, uint64_t *embedded_offset, uint64_t *embedded_size,
                          struct descriptor **out);

/* Makes the descriptor in memory the one on disk, in one step and on stable storage.  A text file is replaced. */
VixError link_store_descriptor (struct link *l);

/* The same for the area inside a sparse extent; VIX_E_ARGUMENT_TOO_BIG if there is no room. */
VixError store_embedded_descriptor (const struct file *f, uint64_t offset, uint64_t size, const char *text, size_t len);

/* chain.c: content of [start, start+count) of a link and everything below it. */
VixError chain_read (struct link *l, uint64_t start, uint64_t count, uint8_t *buf, bool nowait);

/* Runs of [start, start+count); RUN_PARENT only where a parent is missing or below the last link. */
VixError chain_scan (struct link *l, uint64_t start, uint64_t count, scan_function *f, void *opaque);

/* Opens the parents of a link. */
VixError chain_open_parents (struct link *l, int *links);

/* Closes a link and its parents. */
VixError chain_close (struct link *l);

#endif
