#define _GNU_SOURCE
#include "operations/disk_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

size_t
base_length (const char *name)
{
  const size_t len = strlen (name);

  return len > 5 && strcasecmp (name + len - 5, ".vmdk") == 0 ? len - 5 : len;
}

bool
is_extent_name (const char *disk, const char *name)
{
  static const char *const words[] = { "flat", "delta", "sesparse", "rdm", "rdmp" };
  const size_t base_len = base_length (disk);
  const char *word = name + base_len + 1, *dot = strrchr (name, '.');
  size_t len;

  if (strncmp (name, disk, base_len) != 0 || name[base_len] != '-' || !dot || dot <= word
      || strcasecmp (dot, ".vmdk") != 0)
    return false;
  len = (size_t) (dot - word);
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i)
    if (strlen (words[i]) == len && strncmp (word, words[i], len) == 0)
      return true;
  return len > 1 && (*word == 's' || *word == 'f') && strspn (word + 1, "0123456789") == len - 1;
}

VixError
remove_unfinished (int dirfd, const char *name)
{
  CLEANUP_FREE char *unfinished = NULL;

  if (asprintf (&unfinished, ".%s.tmp", name) == -1)
    return report_no_memory ();
  return unlinkat (dirfd, unfinished, 0) == -1 && errno != ENOENT ? report_errno (errno, unfinished, "delete") : VIX_OK;
}

/* Opened and locked; a file that is gone or may not be written needs no lock. */
static VixError
lock_extent (const struct disk_files *d, const char *name, struct file **f)
{
  if (faccessat (d->dirfd, name, W_OK, AT_SYMLINK_NOFOLLOW) == -1)
    return VIX_OK;
  VixError r = file_open_at (d->dirfd, d->dir, name, true, f);

  return r == VIX_OK ? lock_for_writing (*f) : r;
}

/* Lines that share a file share its lock. */
static bool
is_locked (const struct disk_files *d, size_t index)
{
  for (size_t i = 0; i < index; ++i)
    if (d->extents[i] && strcmp (d->descriptor->extents[i].file, d->descriptor->extents[index].file) == 0)
      return true;
  return false;
}

static VixError
lock_files (struct disk_files *d)
{
  const struct descriptor *descriptor = d->descriptor;
  VixError r = VIX_OK;

  if (d->embedded_size > 0) {
    if (d->file->writable)
      r = lock_for_writing (d->file);
    d->guard = d->file;
  }
  else
    d->extents = calloc (descriptor->n_extents, sizeof *d->extents);
  if (d->embedded_size == 0 && !d->extents)
    return report_no_memory ();
  for (size_t i = 0; r == VIX_OK && d->extents && i < descriptor->n_extents; ++i) {
    if (has_file (&descriptor->extents[i]) && !is_locked (d, i))
      r = lock_extent (d, descriptor->extents[i].file, &d->extents[i]);
    if (!d->guard && d->extents[i] && d->extents[i]->locked)
      d->guard = d->extents[i];
  }
  return r == VIX_OK ? folder_lock_take (d->dirfd, d->dir, d->name, d->guard, &d->lock) : r;
}

static VixError
find_change_track (struct disk_files *d)
{
  CLEANUP_FREE char *own = NULL;
  CLEANUP_FREE char *name = descriptor_get (d->descriptor, "changeTrackPath");

  if (!name)
    return VIX_OK;
  if (asprintf (&own, "%.*s-ctk.vmdk", (int) base_length (d->name), d->name) == -1)
    return report_no_memory ();
  if (strcmp (name, own) == 0) {
    d->change_track = name;
    name = NULL;
  }
  return VIX_OK;
}

VixError
disk_files_open (const char *path, struct disk_files *d)
{
  CLEANUP_FREE char *real = realpath (path, NULL);
  VixError r = VIX_OK;

  *d = (struct disk_files){ .dirfd = -1 };
  if (!real)
    return report_errno (errno, path, "open");
  d->dirfd = open_directory_of (real, &d->dir, &d->name, &r);
  if (d->dirfd != -1)
    r = file_open (real, faccessat (d->dirfd, d->name, W_OK, 0) == 0, &d->file);
  if (r == VIX_OK)
    r = read_descriptor (d->file, &d->embedded_offset, &d->embedded_size, &d->descriptor);
  if (r == VIX_OK)
    r = find_change_track (d);
  return r == VIX_OK ? lock_files (d) : r;
}

VixError
disk_files_check_names (const struct disk_files *d)
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

void
disk_files_unlock (struct disk_files *d)
{
  folder_lock_drop (d->lock);
  d->lock = NULL;
}

void
disk_files_close (struct disk_files *d)
{
  for (size_t i = 0; d->extents && i < d->descriptor->n_extents; ++i)
    file_close (d->extents[i]);
  free (d->extents);
  descriptor_free (d->descriptor);
  file_close (d->file);
  disk_files_unlock (d);
  if (d->dirfd != -1)
    close (d->dirfd);
  free (d->dir);
  free (d->name);
  free (d->change_track);
}
