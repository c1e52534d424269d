/* What disk_clone and the question for its space have in common. */
#ifndef ENGINE_CLONE_H
#define ENGINE_CLONE_H

#include "base/io.h"
#include "base/progress.h"
#include "disk/disk_private.h"

/* Clones are copied by grains of what we create; one that holds only zeros is not copied. */
#define CLONE_GRAIN_SECTORS 128u

/* For all of these the caller has the source, alone or shared (DISK_SHARED): they use its links without asking.
 *
 * clone.c: what a clone is created with: the source's capacity, and what p leaves open as the source has it.
 * p->diskType may be VIXDISKLIB_DISK_UNKNOWN, p->adapterType VIXDISKLIB_ADAPTER_UNKNOWN or 0, p->hwVersion 0. */
VixDiskLibCreateParams clone_params (struct disk *from, const VixDiskLibCreateParams *p);

/* clone_metadata.c: what the source's disk database says of its content, not of its files, added to a clone's
 * descriptor. */
VixError clone_metadata (struct disk *from, struct descriptor *to);

/* clone_content.c.  Takes an area of whole grains (the last one of a disk may be cut). */
typedef VixError area_function (void *opaque, uint64_t start, uint64_t count);
typedef VixError content_function (void *opaque, uint64_t start, uint64_t count, const uint8_t *data);

/* The allocated areas, ascending; none touches the one before. */
VixError clone_areas (struct disk *from, area_function *f, void *opaque);

/* All grains that are not zeros, ascending.  f may be called on another thread, one call at a time.  progress: is told
 * from percent first up to 99; NULL: nobody is. */
VixError clone_content (struct disk *from, content_function *f, void *opaque, struct progress *progress, int first);

#endif
