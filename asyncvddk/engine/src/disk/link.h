/* One link of a chain: a descriptor and the extents that it lists. */
#ifndef ENGINE_LINK_H
#define ENGINE_LINK_H

#include "base/beneath.h"
#include "formats/extent.h"

struct link {
  struct link *parent; /* NULL: none, or not opened */
  char *path;          /* of the file with the descriptor, free of symbolic links */
  char *dir, *name;    /* its two parts */
  int dirfd;
  dev_t dev; /* of that file */
  ino_t ino;
  bool writable;
  bool unjudged; /* opened to be checked: flat and hosted sparse extents are files, which nobody looked into */
  const struct folders *inside; /* where it and its parents must lie; NULL: anywhere */
  struct descriptor *descriptor;
  uint64_t embedded_offset, embedded_size; /* bytes of the descriptor in the first extent's file; size 0: a text file */
  struct extent **extents; /* in the order of the disk */
  size_t n_extents;
  bool entered;             /* into the lock folder, as far as that was possible */
  struct folder_lock *lock;
};

/* Opens the link without its parents.  inside outlives it. */
VixError link_open (const char *path, bool writable, struct link **out);
VixError link_open_inside (const struct folders *inside, const char *path, bool writable, struct link **out);

/* Opens a link that may be damaged, and locks it: for writing if it is to be repaired, against writers else.  Flat and
 * hosted sparse extents can be closed, nothing more; they have no other operations.  VIX_E_DISK_CANTREPAIR: the
 * descriptor is lost. */
VixError link_open_to_check (const char *path, bool repair, struct link **out);

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

/* rescue.c: the same from a file whose header may be lost. */
VixError rescue_descriptor (const struct file *f, uint64_t *embedded_offset, uint64_t *embedded_size,
                            struct descriptor **out);

/* Makes the descriptor in memory the one on disk, in one step and on stable storage.  A text file is replaced. */
VixError link_store_descriptor (struct link *l);

/* A copy of the descriptor to be edited; *copy is NULL on failure. */
VixError link_edit_descriptor (const struct link *l, struct descriptor **copy);

/* Stores the edited copy, and takes its text and content id over (not what its extent lines say) once it is on stable
 * storage: nothing is changed in memory that could not be stored.  The caller frees the copy in any case. */
VixError link_replace_descriptor (struct link *l, struct descriptor *copy);

/* chain.c: content of [start, start+count) of a link and everything below it. */
VixError chain_read (struct link *l, uint64_t start, uint64_t count, uint8_t *buf, bool nowait);

/* Runs of [start, start+count); RUN_PARENT only where a parent is missing or below the last link. */
VixError chain_scan (struct link *l, uint64_t start, uint64_t count, scan_function *f, void *opaque);

/* Links of a chain that are opened at most. */
#define CHAIN_MAX_LINKS 255

/* A link at the bottom has a parent that was not opened. */
bool chain_is_partial (const struct link *l);

/* Closes a link and its parents. */
VixError chain_close (struct link *l);

/* parent.c: opens the parents of a link. */
VixError chain_open_parents (struct link *l, int *links);

/* What a child says of its parent must be so: VIX_E_DISK_CID_MISMATCH, VIX_E_DISK_CAPACITY_MISMATCH. */
VixError link_compare_parent (const struct link *child, const struct link *parent);

/* VIX_E_DISK_PARENT_NOTALLOWED: hosted sparse links do not go on top of this one. */
VixError link_check_parent_type (const struct link *parent, const char *child);

#endif
