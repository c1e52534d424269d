/* Deleting a disk: the descriptor first, with which it is gone, then its extents and what else is its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "operations/disk_files.h"
#include "operations/new_files.h"
#include "operations/operations.h"

static VixError
check_names (const struct disk_files *d)
{
  for (size_t i = 0; d->embedded_size == 0 && i < d->descriptor->n_extents; ++i) {
    const struct extent_line *line = &d->descriptor->extents[i];

    if (has_file (line) && !is_extent_name (d->name, line->file))
      return report (VIX_E_FILE_NAME_INVALID,
                     "%s: line %zu: \"%s\" is not named like an extent of this disk; nothing was deleted",
                     d->file->path, line->line, line->file);
  }
  return VIX_OK;
}

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
      new_file_forget (d->dirfd, d->descriptor->extents[i].file);
      r = r == VIX_OK ? one : r;
    }
  if (d->change_track) {
    one = delete_file (d, d->change_track);
    r = r == VIX_OK ? one : r;
  }
  one = remove_unfinished (d->dirfd, d->name);
  return r == VIX_OK ? one : r;
}

VixError
disk_unlink (const char *path)
{
  struct disk_files d;
  VixError r = disk_files_open (path, &d);

  if (r == VIX_OK)
    r = check_names (&d);
  if (r == VIX_OK && unlinkat (d.dirfd, d.name, 0) == -1)
    r = report_errno (errno, path, "delete");
  else if (r == VIX_OK) {
    r = delete_rest (&d);
    if (r == VIX_OK)
      r = directory_sync (d.dirfd, d.dir);
  }
  disk_files_close (&d);
  return r;
}
