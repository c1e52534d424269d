/* What is done to a disk as a whole, one file each.  Paths are local ones.  Every call either does all of its work or
 * leaves the disk as it was; killed at any moment it leaves a disk that opens, after CheckRepair if need be. */
#ifndef ENGINE_OPERATIONS_H
#define ENGINE_OPERATIONS_H

#include <stdbool.h>

#include "base/progress.h"
#include "disk/disk.h"

/* create.c.  has_sector_sizes: the caller's struct is of the generation that has logicalSectorSize and
 * physicalSectorSize. */
VixError disk_create (const char *path, const VixDiskLibCreateParams *p, bool has_sector_sizes,
                      struct progress *progress);

/* create_child.c: an empty link on top of an open disk. */
VixError disk_create_child (struct disk *parent, const char *path, VixDiskLibDiskType type, struct progress *progress);

/* attach.c.  After disk_attach the child owns the parent's links: the parent is closed, whatever the result. */
VixError disk_attach_possible (struct disk *parent, struct disk *child);
VixError disk_attach (struct disk *parent, struct disk *child);

/* clone.c: the content of the chain at from, which must lie inside the folders (NULL: anywhere), as a new disk at to. */
VixError disk_clone (const char *to, const char *from, const struct folders *inside, const VixDiskLibCreateParams *p,
                     bool overwrite, struct progress *progress);

/* clone_space.c: bytes on storage that a clone takes.  VIXDISKLIB_DISK_UNKNOWN: of the disk's own type. */
VixError disk_space_for_clone (struct disk *d, VixDiskLibDiskType type, uint64 *bytes);

/* grow.c: capacity in sectors. */
VixError disk_grow (const char *path, uint64 capacity, bool update_geometry, struct progress *progress);

/* shrink.c, defragment.c: on an open disk that was opened for writing. */
VixError disk_shrink (struct disk *d, struct progress *progress);
VixError disk_defragment (struct disk *d, struct progress *progress);

/* rename.c, unlink.c: the descriptor and the extents of this one link. */
VixError disk_rename (const char *from, const char *to);
VixError disk_unlink (const char *path);

/* check.c: one link of a chain: header, directories and tables of sparse extents, sizes of flat ones; neither content
 * nor parents.  Each finding is one warning, up to a bound; space that nothing uses is only logged.  Without repair
 * nothing is written and a file that can only be read will do; else everything is repaired, or nothing.
 *
 * VIX_OK                     clean, or clean again
 * VIX_E_DISK_NEEDSREPAIR     what was found can be repaired; without repair only
 * VIX_E_DISK_CANTREPAIR      something is lost, or nobody knows what is right; nothing was changed
 * VIX_E_DISK_INVALIDDISK     no disk, or a descriptor that contradicts itself: as from opening
 * VIX_E_FILE_ALREADY_LOCKED  open for writing elsewhere
 * others                     the check or the repair could not be made, for the reason that was reported
 *
 * A repair changes nothing that a reader saw and keeps the content id: it takes grains back that one copy of the tables
 * has lost, and completes what an interrupted writer left. */
VixError disk_check (const char *path, bool repair);

#endif
