/* A disk being created: what it is made of, and what must go if it fails. */
#ifndef ENGINE_CREATE_H
#define ENGINE_CREATE_H

#include "base/io.h"
#include "base/progress.h"

struct creation {
  const VixDiskLibCreateParams *params;
  bool has_sector_sizes;
  struct progress *progress;
  int dirfd;
  char *dir, *name; /* of the descriptor */
  char *base;       /* name without ".vmdk" */
  char **created;   /* names of files made so far */
  size_t n_created;
};

/* Creates a file and notes it. */
VixError create_file (struct creation *c, const char *name, struct file **out);

/* create_flat.c: all sectors of a new file, reserved on storage unless thin.  done of total sectors of the disk exist
 * before. */
VixError create_flat_extent (struct creation *c, const struct file *f, uint64_t sectors, bool thin, uint64_t done);

/* Reserves the bytes from..to of a file on storage; p hears of done of total sectors, and of these. */
VixError reserve_flat (const struct file *f, uint64_t from, uint64_t to, struct progress *p, uint64_t done,
                       uint64_t total);

/* create_descriptor.c: the text; extents are its extent lines.  NULL when out of memory. */
char *create_descriptor (const struct creation *c, const char *create_type, const char *extents, bool thin,
                         size_t *len);

#endif
