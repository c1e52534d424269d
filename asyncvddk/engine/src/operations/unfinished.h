/* Disks that are being made or deleted.  Their descriptor has the name ".NAME.new" meanwhile: it is made before the
 * first extent, and a disk being deleted gets it before the first extent goes.  So whoever dies in between leaves a list
 * of what belongs to nobody. */
#ifndef ENGINE_UNFINISHED_H
#define ENGINE_UNFINISHED_H

#include <stdbool.h>

#include "base/io.h"

/* malloc'ed; NULL when out of memory. */
char *unfinished_name (const char *name);

/* Deletes what a process left that died while it made or deleted the disk called name; VIX_OK also if there is nothing.
 * Its maker holds a lock on the file: VIX_E_FILE_ALREADY_LOCKED while it lives. */
VixError unfinished_clear (int dirfd, const char *dir, const char *name);

/* The disk is gone, on stable storage, but for its extents, which the caller deletes, and then calls unfinished_end. */
VixError unfinished_begin_delete (int dirfd, const char *dir, const char *name);
VixError unfinished_end_delete (int dirfd, const char *dir, const char *name);

/* True if a process died while it made or deleted the disk. */
bool unfinished_exists (int dirfd, const char *name);

#endif
