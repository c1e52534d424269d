/* What Shrink and Defragment share. */
#ifndef ENGINE_COMPACT_H
#define ENGINE_COMPACT_H

#include "base/progress.h"
#include "disk/disk_private.h"

/* Extents of the top link whose grains can be moved; *unknown: there are some of formats that are only read. */
size_t count_compactable (const struct disk *d, bool *unknown);

/* Does the job, whose pause is set here, in steps: others use the disk in between.  VIX_E_OBJECT_IS_BUSY: another thread
 * does so already.  Cancelled, what was done stays. */
VixError compact_disk (struct disk *d, const struct compaction *job, struct progress *progress);

#endif
