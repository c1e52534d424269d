/* streamOptimized extents: hosted sparse ones whose grains are compressed and whose directory may stand at the end.
 *
 * Behind the header and the descriptor come the grains, in the order of the disk, each with its sector in front.  The
 * table of a group of grains follows the group, the directory follows all, then a footer that says where it is. */
#ifndef ENGINE_STREAM_H
#define ENGINE_STREAM_H

#include "formats/sparse/sparse.h"

enum stream_marker_type { STREAM_END, STREAM_TABLE, STREAM_DIRECTORY, STREAM_FOOTER, STREAM_PROGRESS };

/* Sector in front of a table, directory or footer. */
struct stream_marker {
  uint64_t sectors; /* that follow */
  uint32_t size, type;
  uint8_t pad[496];
} __attribute__ ((packed));

/* In front of the bytes of a grain. */
struct grain_marker {
  uint64_t sector; /* of the disk */
  uint32_t size;   /* bytes that follow, not 0 */
} __attribute__ ((packed));

static_assert (sizeof (struct stream_marker) == SECTOR_SIZE, "a marker is one sector");
static_assert (sizeof (struct grain_marker) == 12, "a grain's bytes begin behind 12");

/* stream.c.  The header's directory offset becomes that of the footer if the file has one; both must agree else.
 * VIX_E_DISK_NEEDSREPAIR: the footer is missing, so the file was cut, or its writer did not finish. */
VixError stream_read_footer (const struct file *f, struct sparse_header *h);

/* struct extent_ops' read: one grain or a part of it. */
VixError stream_read (struct extent *e, const struct run *run, uint8_t *buf);

/* stream_create.c: a complete stream without grains. */
VixError create_stream_extent (const struct file *f, uint64_t sectors, const char *descriptor, size_t descriptor_len);

/* Everything behind the last table, from sector on, where the file ends then; on storage when it returns. */
VixError stream_write_end (const struct file *f, const uint32_t *directory, uint32_t n_tables, uint64_t sector);

/* The marker in front of a table, or of the directory. */
struct stream_marker stream_make_marker (enum stream_marker_type type, uint64_t sectors);

/* stream_write.c: if the extent is a stream without grains as create_stream_extent makes it, it can be written to
 * afterwards, from front to back; VIX_E_NOT_SUPPORTED else.  directory_at_end: so says its header. */
VixError stream_begin_writing (struct sparse *s, bool directory_at_end);

/* The last grains, the tables, the end of the file; frees.  No other thread uses the extent any more. */
VixError stream_end_writing (struct sparse *s);

/* stream_repair.c: makes a stream whose writer did not finish, or that was cut, whole again, with all grains that it
 * has.  Without repair: VIX_E_DISK_NEEDSREPAIR for such a file, which is not changed.  VIX_OK: complete, or not a stream
 * with its directory at the end. */
VixError stream_check (const struct file *f, bool repair);

#endif
