/* One open virtual disk: a chain of links, each a descriptor with its extents.  What a VixDiskLibHandle reads and
 * writes. */
#ifndef ENGINE_DISK_H
#define ENGINE_DISK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/beneath.h"

struct disk;

struct disk_info {
  uint64 capacity; /* sectors */
  uint32 adapter;  /* VixDiskLibAdapterType */
  uint32 cylinders, heads, sectors;
  uint32 bios_cylinders, bios_heads, bios_sectors;
  uint32 logical_sector_size, physical_sector_size; /* bytes */
  int links;
  const char *parent_hint, *uuid; /* owned by the disk, valid until it is closed; NULL if it has none */
};

/* Opens a descriptor or a monolithic file and, unless VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, all its parents.
 * *out is NULL on failure. */
VixError disk_open (const char *path, uint32 flags, struct disk **out);

/* The same for a disk that must lie, with all its parents, below one of the folders, which outlive it.  NULL: anywhere. */
VixError disk_open_inside (const struct folders *inside, const char *path, uint32 flags, struct disk **out);

/* Frees in any case; the first error of the final flush is returned. */
VixError disk_close (struct disk *d);

/* start and count are sectors.  Any number of threads may read and write at once; a read that overlaps a write in
 * progress may see old bytes and new ones, even in one sector. */
VixError disk_read (struct disk *d, uint64 start, uint64 count, uint8 *buf, bool nowait);
VixError disk_write (struct disk *d, uint64 start, uint64 count, const uint8 *buf);
VixError disk_flush (struct disk *d);

/* True if writes must keep the order in which they were asked for. */
bool disk_writes_in_order (const struct disk *d);

void disk_get_info (struct disk *d, struct disk_info *info);

/* Calls emit for each allocated area in [start, start+count): sectors, multiples of chunk from start on except for a
 * clipped end, ascending, never touching.  emit returns false when it is out of memory. */
VixError disk_allocated (struct disk *d, uint64 start, uint64 count, uint64 chunk,
                         bool (*emit) (void *opaque, uint64 off, uint64 len), void *opaque);

/* The disk database.  Names without "ddb.".  *required (may be NULL) counts every terminating NUL; a buf that is NULL
 * or shorter than that stays untouched and VIX_E_BUFFER_TOOSMALL is returned. */
VixError disk_metadata_read (struct disk *d, const char *key, char *buf, size_t len, size_t *required);
VixError disk_metadata_write (struct disk *d, const char *key, const char *val);
VixError disk_metadata_keys (struct disk *d, char *buf, size_t len, size_t *required);

#endif
