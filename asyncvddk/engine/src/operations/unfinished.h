/* Disks that are being made, get more extents, or are being deleted.  A descriptor with the name ".NAME.new" lists their
 * extents meanwhile: it is there before the first extent is made, and before the first one goes.  So whoever dies in
 * between leaves a list of what belongs to nobody: all in it that the disk itself does not list. */
#ifndef ENGINE_UNFINISHED_H
#define ENGINE_UNFINISHED_H

#include <stdbool.h>

#include "base/io.h"

/* malloc'ed; NULL when out of memory. */
char *unfinished_name (const char *name);

/* Deletes what a process left that died while it made, enlarged or deleted the disk called name, its entry in the lock
 * folder, too; VIX_OK also if there is nothing.  Its maker holds a lock on the file: VIX_E_FILE_ALREADY_LOCKED while it
 * lives. */
VixError unfinished_clear (int dirfd, const char *dir, const char *name);

/* The disk is gone, on stable storage, but for its extents, which the caller deletes, and then calls unfinished_end; or it
 * is there as before, with an error. */
VixError unfinished_begin_delete (int dirfd, const char *dir, const char *name);

/* A disk that is there gets the extents that the text lists besides, once this returns; then the disk's own descriptor
 * is replaced, and unfinished_end is called.  *guard is held until then. */
VixError unfinished_begin_growth (int dirfd, const char *dir, const char *name, const char *text, size_t len,
                                  struct file **guard);

/* The list is gone, on stable storage. */
VixError unfinished_end (int dirfd, const char *dir, const char *name);

/* True if there is such a list. */
bool unfinished_exists (int dirfd, const char *name);

#endif
