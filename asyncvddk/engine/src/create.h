/* A disk being created: what it is made of, and what must go if it fails. */
#ifndef ENGINE_CREATE_H
#define ENGINE_CREATE_H

#include "io.h"

struct creation {
  const VixDiskLibCreateParams *params;
  bool has_sector_sizes;
  VixDiskLibProgressFunc progress;
  void *progress_data;
  int percent;  /* last told */
  int dirfd;
  char *dir, *name; /* of the descriptor */
  char *base;       /* name without ".vmdk" */
  char **created;   /* names of files made so far */
  size_t n_created;
};

/* Creates a file and notes it. */
VixError create_file (struct creation *c, const char *name, struct file **out);

/* Tells how far it is, never less than before; VIX_E_CANCELLED if the client wants no more. */
VixError create_progress (struct creation *c, int percent);

/* How far it is when so many sectors exist; 100 is for the whole disk under its name. */
static inline int
sectors_percent (const struct creation *c, uint64_t sectors)
{
  return (int) (sectors * 99 / c->params->capacity);
}

/* create_flat.c: all sectors of a new file, reserved on storage unless thin.  done of total sectors of the disk exist
 * before. */
VixError create_flat_extent (struct creation *c, const struct file *f, uint64_t sectors, bool thin, uint64_t done);

/* sparse_create.c: header and empty tables. */
VixError create_sparse_extent (const struct file *f, uint64_t sectors, const char *descriptor, size_t descriptor_len);

/* create_descriptor.c: the text; extents are its extent lines.  NULL when out of memory. */
char *create_descriptor (const struct creation *c, const char *create_type, const char *extents, bool thin,
                         size_t *len);

#endif
