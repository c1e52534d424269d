/* streamOptimized extents: hosted sparse ones whose grains are compressed and whose directory may stand at the end. */
#ifndef ENGINE_STREAM_H
#define ENGINE_STREAM_H

#include "formats/sparse/sparse.h"

/* The header's directory offset becomes that of the footer if the file has one; both must agree else. */
VixError stream_read_footer (const struct file *f, struct sparse_header *h);

/* struct extent_ops' read: one grain or a part of it. */
VixError stream_read (struct extent *e, const struct run *run, uint8_t *buf);

#endif
