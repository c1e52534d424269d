/* The text descriptor of a link: content ids, extents, disk database.  Edited line by line, so that comments, order and
 * unknown keys survive. */
#ifndef ENGINE_DESCRIPTOR_H
#define ENGINE_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vixDiskLib.h"

#define CID_NONE 0xffffffffu /* parentCID of a link without parent */

/* Bounds on what is accepted. */
#define DESCRIPTOR_MAX_BYTES (1u << 20)
#define DESCRIPTOR_MAX_EXTENTS 4096u
#define MAX_SECTORS (1ull << 40) /* of a disk or an extent */

enum extent_access { ACCESS_RW, ACCESS_RDONLY, ACCESS_NOACCESS };

enum extent_type {
  EXTENT_SPARSE,
  EXTENT_FLAT,
  EXTENT_ZERO,
  EXTENT_VMFS,
  EXTENT_VMFSSPARSE,
  EXTENT_SESPARSE,
  EXTENT_DEVICE,
  EXTENT_TYPES
};

struct extent_line {
  size_t line; /* 1-based, for messages */
  enum extent_access access;
  enum extent_type type;
  uint64_t sectors;
  uint64_t offset; /* sectors into the file */
  bool has_offset;
  char *file; /* NULL for ZERO */
};

struct descriptor {
  char *where; /* path of the file that holds it, for messages */
  char **lines;
  size_t n_lines;
  uint32_t cid, parent_cid;
  char *create_type;
  char *parent_hint; /* NULL if there is none */
  struct extent_line *extents;
  size_t n_extents;
  uint64_t capacity; /* sectors of all extents */
};

/* text need not end with NUL.  Everything that is out of order is reported with its line; *out is NULL then. */
VixError descriptor_parse (const char *where, const char *text, size_t len, struct descriptor **out);

/* NULL allowed. */
void descriptor_free (struct descriptor *d);

/* The text as it is to be stored; NULL when out of memory. */
char *descriptor_text (const struct descriptor *d, size_t *len);

/* The value as it stands between quotes, malloc'ed; NULL when out of memory. */
char *descriptor_escape (const char *value);
/* Header keys.  The value is malloc'ed; NULL: no such key.  Only a key that is there can be set. */
char *descriptor_get (const struct descriptor *d, const char *key);
VixError descriptor_set (struct descriptor *d, const char *key, const char *value);

/* The index-th extent has another size or file (NULL: the same).  A line more behind the last one, with its access and
 * type.  d->capacity follows. */
VixError descriptor_set_extent (struct descriptor *d, size_t index, uint64_t sectors, const char *file);
VixError descriptor_add_extent (struct descriptor *d, uint64_t sectors, const char *file);

/* Disk database.  name without "ddb.".  The value is malloc'ed; NULL: no such key. */
char *descriptor_ddb_get (const struct descriptor *d, const char *name);
VixError descriptor_ddb_set (struct descriptor *d, const char *name, const char *value);

/* Name of the index-th ddb key, malloc'ed; NULL behind the last one. */
char *descriptor_ddb_name (const struct descriptor *d, size_t index);

/* True if a metadata key may have this name. */
bool descriptor_valid_name (const char *name);

/* Exchanges the texts of two descriptors that are else the same. */
void descriptor_swap_lines (struct descriptor *a, struct descriptor *b);

/* Sets CID and the tail of ddb.longContentID, if there is one, and drops the reference to a change tracking file, which
 * a changed content makes wrong. */
VixError descriptor_set_cid (struct descriptor *d, uint32_t cid);

/* A content id that is neither of the two reserved ones. */
uint32_t random_cid (void);

#endif
