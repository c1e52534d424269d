/* Deleting a disk. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "disk/lock.h"
#include "operations/doomed.h"
#include "operations/operations.h"

/* True if disk software gives this name to an extent of the disk called base: base-flat.vmdk, base-s001.vmdk ... */
static bool
is_extent_name (const char *base, size_t base_len, const char *name)
{
  static const char *const words[] = { "flat", "delta", "sesparse", "rdm", "rdmp" };
  const char *word = name + base_len + 1, *dot = strrchr (name, '.');
  size_t len;

  if (strncmp (name, base, base_len) != 0 || name[base_len] != '-' || !dot || dot <= word
      || strcasecmp (dot, ".vmdk") != 0)
    return false;
  len = (size_t) (dot - word);
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i)
    if (strlen (words[i]) == len && strncmp (word, words[i], len) == 0)
      return true;
  return len > 1 && (*word == 's' || *word == 'f') && strspn (word + 1, "0123456789") == len - 1;
}

/* Opened and locked, so that no writer loses its disk; a file that is gone or may not be written needs no lock. */
static VixError
lock_extent (int dirfd, const char *dir, const char *name, struct file **f)
{
  if (faccessat (dirfd, name, W_OK, AT_SYMLINK_NOFOLLOW) == -1)
    return VIX_OK;
  VixError r = file_open_at (dirfd, dir, name, true, f);

  return r == VIX_OK ? lock_for_writing (*f) : r;
}

static VixError
lock_extents (struct doomed *d)
{
  const struct descriptor *descriptor = d->descriptor;
  const size_t len = strlen (d->name);
  const size_t base_len = len > 5 && strcasecmp (d->name + len - 5, ".vmdk") == 0 ? len - 5 : len;
  VixError r = VIX_OK;

  d->extents = calloc (descriptor->n_extents, sizeof *d->extents);
  if (!d->extents)
    return report_no_memory ();
  for (size_t i = 0; r == VIX_OK && i < descriptor->n_extents; ++i) {
    const struct extent_line *line = &descriptor->extents[i];

    if (!line->file || line->type == EXTENT_DEVICE)
      continue;
    if (!is_extent_name (d->name, base_len, line->file))
      return report (VIX_E_FILE_NAME_INVALID,
                     "%s: line %zu: \"%s\" is not named like an extent of this disk; nothing was deleted",
                     d->file->path, line->line, line->file);
    r = lock_extent (d->dirfd, d->dir, line->file, &d->extents[i]);
  }
  return r;
}

static VixError
delete_extents (const struct doomed *d)
{
  VixError r = VIX_OK;

  for (size_t i = 0; i < d->descriptor->n_extents; ++i) {
    const struct extent_line *line = &d->descriptor->extents[i];

    if (line->file && line->type != EXTENT_DEVICE && unlinkat (d->dirfd, line->file, 0) == -1 && errno != ENOENT)
      r = report_errno (errno, line->file, "delete");
  }
  return r;
}

VixError
doomed_open (const char *path, struct doomed *d)
{
  uint64_t offset, size;
  VixError r = VIX_OK;

  *d = (struct doomed){ .dirfd = -1 };
  d->dirfd = open_directory_of (path, &d->dir, &d->name, &r);
  if (d->dirfd != -1)
    r = file_open (path, faccessat (d->dirfd, d->name, W_OK, 0) == 0, &d->file);
  if (r == VIX_OK)
    r = read_descriptor (d->file, &offset, &size, &d->descriptor);
  if (r != VIX_OK)
    return r;
  d->embedded = size > 0;
  if (!d->embedded)
    return lock_extents (d);
  return d->file->writable ? lock_for_writing (d->file) : VIX_OK;
}

void
doomed_close (struct doomed *d)
{
  for (size_t i = 0; d->extents && i < d->descriptor->n_extents; ++i)
    file_close (d->extents[i]);
  free (d->extents);
  descriptor_free (d->descriptor);
  file_close (d->file);
  if (d->dirfd != -1)
    close (d->dirfd);
  free (d->dir);
  free (d->name);
}

/* The descriptor, with which the disk is gone, then the rest. */
static VixError
delete_disk (const struct doomed *d)
{
  VixError r = VIX_OK;

  if (unlinkat (d->dirfd, d->name, 0) == -1)
    return report_errno (errno, d->file->path, "delete");
  if (!d->embedded)
    r = delete_extents (d);
  return r == VIX_OK ? directory_sync (d->dirfd, d->dir) : r;
}

VixError
disk_unlink (const char *path)
{
  struct doomed d;
  VixError r = doomed_open (path, &d);

  if (r == VIX_OK)
    r = delete_disk (&d);
  doomed_close (&d);
  return r;
}
