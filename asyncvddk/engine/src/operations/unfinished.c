#define _GNU_SOURCE
#include "operations/unfinished.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/link.h"
#include "disk/lock.h"

/* Length of a disk's name without ".vmdk". */
static size_t
base_length (const char *name)
{
  const size_t len = strlen (name);

  return len > 5 && strcasecmp (name + len - 5, ".vmdk") == 0 ? len - 5 : len;
}

/* True if disk software gives this name to an extent of the disk whose name begins with base: base-flat.vmdk,
 * base-s001.vmdk ... */
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

char *
unfinished_name (const char *name)
{
  char *hidden;

  return asprintf (&hidden, ".%s.new", name) == -1 ? NULL : hidden;
}

/* The descriptor of a file in the folder; NULL if there is none. */
static struct descriptor *
descriptor_in (int dirfd, const char *dir, const char *name)
{
  CLEANUP_FILE struct file *f = NULL;
  struct descriptor *descriptor = NULL;
  uint64_t offset, size;

  if (file_open_at (dirfd, dir, name, false, &f) == VIX_OK)
    read_descriptor (f, &offset, &size, &descriptor);
  return descriptor;
}

static bool
lists (const struct descriptor *d, const char *name)
{
  for (size_t i = 0; i < d->n_extents; ++i)
    if (d->extents[i].file && strcmp (d->extents[i].file, name) == 0)
      return true;
  return false;
}

/* Deletes a file unless somebody has it open for writing. */
static VixError
delete_extent (int dirfd, const char *dir, const char *name)
{
  CLEANUP_FILE struct file *f = NULL;
  VixError r = VIX_OK;

  if (faccessat (dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == -1)
    return VIX_OK;
  if (file_open_at (dirfd, dir, name, true, &f) == VIX_OK)
    r = lock_for_writing (f);
  if (r == VIX_OK && unlinkat (dirfd, name, 0) == -1 && errno != ENOENT)
    r = report_errno (errno, name, "delete");
  return r;
}

/* Deletes the extents that only the unfinished disk lists.  One that cannot be read listed none yet. */
static VixError
delete_extents (int dirfd, const char *dir, const char *name, const char *hidden)
{
  struct descriptor *const dead = descriptor_in (dirfd, dir, hidden), *alive = NULL;
  const bool replaced = faccessat (dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  VixError r = VIX_OK;

  if (replaced)
    alive = descriptor_in (dirfd, dir, name);
  for (size_t i = 0; r == VIX_OK && dead && (alive || !replaced) && i < dead->n_extents; ++i) {
    const char *file = dead->extents[i].file;

    if (file && is_extent_name (name, base_length (name), file) && !(alive && lists (alive, file)))
      r = delete_extent (dirfd, dir, file);
  }
  descriptor_free (dead);
  descriptor_free (alive);
  return r;
}

/* The unfinished disk's file, locked, in *f; NULL if there is none, or no more. */
static VixError
lock_unfinished (int dirfd, const char *dir, const char *hidden, struct file **f)
{
  struct stat st;
  VixError r;

  *f = NULL;
  if (fstatat (dirfd, hidden, &st, AT_SYMLINK_NOFOLLOW) == -1)
    return VIX_OK;
  r = file_open_at (dirfd, dir, hidden, true, f);
  if (r == VIX_OK)
    r = lock_for_writing (*f);
  if (r != VIX_OK || (fstatat (dirfd, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == (*f)->ino))
    return r;
  file_close (*f);
  *f = NULL;
  return VIX_OK;
}

VixError
unfinished_clear (int dirfd, const char *dir, const char *name)
{
  CLEANUP_FREE char *hidden = unfinished_name (name);
  CLEANUP_FREE char *replacement = NULL;
  CLEANUP_FILE struct file *f = NULL;
  VixError r = hidden ? lock_unfinished (dirfd, dir, hidden, &f) : report_no_memory ();

  if (r != VIX_OK || !f)
    return r;
  r = delete_extents (dirfd, dir, name, hidden);
  if (asprintf (&replacement, ".%s.tmp", hidden) == -1) {
    replacement = NULL;
    return report_no_memory ();
  }
  unlinkat (dirfd, replacement, 0); /* link_store_descriptor's */
  if (r == VIX_OK && unlinkat (dirfd, hidden, 0) == -1 && errno != ENOENT)
    r = report_errno (errno, f->path, "delete");
  if (r != VIX_OK)
    return r;
  engine_warn ("%s: was left by a process that died; deleted with the extents that it listed", f->path);
  return directory_sync (dirfd, dir);
}

VixError
unfinished_begin_delete (int dirfd, const char *dir, const char *name)
{
  CLEANUP_FREE char *hidden = unfinished_name (name);

  if (!hidden)
    return report_no_memory ();
  return renameat (dirfd, name, dirfd, hidden) == -1 ? report_errno (errno, name, "delete")
                                                     : directory_sync (dirfd, dir);
}

VixError
unfinished_end_delete (int dirfd, const char *dir, const char *name)
{
  CLEANUP_FREE char *hidden = unfinished_name (name);

  if (!hidden)
    return report_no_memory ();
  return unlinkat (dirfd, hidden, 0) == -1 ? report_errno (errno, hidden, "delete") : directory_sync (dirfd, dir);
}

bool
unfinished_exists (int dirfd, const char *name)
{
  CLEANUP_FREE char *hidden = unfinished_name (name);

  return hidden && faccessat (dirfd, hidden, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
