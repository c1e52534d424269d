/* Deleting a disk: the descriptor's name first, with which it is gone, then its extents and what else is its own, then the
 * descriptor, which lists what is still to go (unfinished.h). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "operations/disk_files.h"
#include "operations/operations.h"
#include "operations/unfinished.h"

static VixError
delete_file (const struct disk_files *d, const char *name)
{
  return unlinkat (d->dirfd, name, 0) == -1 && errno != ENOENT ? report_errno (errno, name, "delete") : VIX_OK;
}

/* Extents, change tracking, what a writer left unfinished. */
static VixError
delete_rest (const struct disk_files *d)
{
  VixError r = VIX_OK, one;

  for (size_t i = 0; d->embedded_size == 0 && i < d->descriptor->n_extents; ++i)
    if (has_file (&d->descriptor->extents[i])) {
      one = delete_file (d, d->descriptor->extents[i].file);
      r = r == VIX_OK ? one : r;
    }
  if (d->change_track) {
    one = delete_file (d, d->change_track);
    r = r == VIX_OK ? one : r;
  }
  one = remove_unfinished (d->dirfd, d->name);
  return r == VIX_OK ? one : r;
}

static VixError
delete_disk (struct disk_files *d)
{
  VixError r = unfinished_begin_delete (d->dirfd, d->dir, d->name);

  if (r == VIX_OK)
    r = delete_rest (d);
  disk_files_unlock (d); /* the list is the last to go: until then another Unlink can finish what this one began */
  return r == VIX_OK ? unfinished_end (d->dirfd, d->dir, d->name) : r;
}

/* What another call left that died in the middle.  *found: it was an Unlink of this disk, which is done now. */
static VixError
finish_unlink (const char *path, bool *found)
{
  CLEANUP_FREE char *dir = NULL;
  CLEANUP_FREE char *name = NULL;
  VixError r = VIX_OK;
  int dirfd = open_directory_of (path, &dir, &name, &r);

  *found = false;
  if (dirfd == -1)
    return r;
  *found = faccessat (dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == -1 && unfinished_exists (dirfd, name);
  r = unfinished_clear (dirfd, dir, name);
  close (dirfd);
  return r;
}

VixError
disk_unlink (const char *path)
{
  struct disk_files d;
  bool found;
  VixError r = finish_unlink (path, &found);

  if (r != VIX_OK || found)
    return r;
  r = disk_files_open (path, &d);
  if (r == VIX_OK)
    r = disk_files_check_names (&d);
  if (r == VIX_OK)
    r = delete_disk (&d);
  disk_files_close (&d);
  return r;
}
