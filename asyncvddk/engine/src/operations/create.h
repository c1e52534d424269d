/* A disk being created: what it is made of, and what must go if it fails.  The steps, in this order, for all that make
 * disks: creation_begin, creation_make, content if there is any, creation_publish, and creation_end in any case. */
#ifndef ENGINE_CREATE_H
#define ENGINE_CREATE_H

#include "base/io.h"
#include "base/progress.h"

/* What the descriptor of a child says of its parent. */
struct parentage {
  uint32_t cid;
  char *hint; /* path, from the child's folder or absolute */
  char *ddb;  /* lines of the disk database that the child repeats */
};

/* How a disk type is made. */
struct kind {
  const char *create_type, *line_type;
  bool sparse, split, thin, stream;
};

struct creation {
  const VixDiskLibCreateParams *params;
  bool has_sector_sizes;
  const struct parentage *parent; /* NULL: none */
  struct progress *progress;
  bool replace; /* a disk with this name, and its extents, stay where they are until the new one takes its place */

  uint64_t total; /* sectors of work that progress speaks of; 0: the capacity, which is all of it */

  /* Set by creation_begin and creation_make. */
  const struct kind *kind;
  int dirfd;
  char *dir, *name;  /* of the descriptor */
  char *base;        /* name without ".vmdk" */
  char *temporary;   /* name of the file with the descriptor until it is published */
  struct file *guard; /* that file, locked; NULL: there is none yet */
  char **created;    /* names of files made so far */
  size_t n_created;
  bool published;    /* the name is the new disk's */
  bool exchanged;    /* and the old disk's descriptor has the temporary one: its extents are to go, then it */
  unsigned number;   /* extents are counted from here on, as files of the old disk have the numbers before */
};

/* All steps, for disks without content: what c->params, has_sector_sizes, parent and progress say. */
VixError create_link (const char *path, struct creation *c);

/* Judges parameters and name; tells 0 %. */
VixError creation_begin (struct creation *c, const char *path);

/* All files, on stable storage; the one with the descriptor under its temporary name. */
VixError creation_make (struct creation *c);

/* Tells 100 %, then gives the disk its name. */
VixError creation_publish (struct creation *c);

/* Deletes what was made, unless it is published, and frees. */
void creation_end (struct creation *c);

/* The type's way; NULL: disks of this type are not created. */
const struct kind *find_kind (VixDiskLibDiskType type);

/* True if the file with the descriptor is also the extent. */
bool is_one_file (const struct creation *c);

/* Sectors of an extent of a split disk. */
uint64_t split_sectors (uint64_t capacity);

/* For those who only want to know: what c->base must be, and the extent lines, malloc'ed; NULL when out of memory. */
VixError creation_set_base (struct creation *c);
char *creation_lines (const struct creation *c);

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
