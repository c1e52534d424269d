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
#include "operations/disk_files.h"

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

    if (file && is_extent_name (name, file) && !(alive && lists (alive, file)))
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

/* The entry of a dead process in the lock folder of a disk that is gone goes, too. */
static VixError
clear_lock (int dirfd, const char *dir, const char *name, const struct file *guard)
{
  struct folder_lock *lock;
  VixError r = folder_lock_take (dirfd, dir, name, guard, &lock);

  if (r == VIX_OK)
    folder_lock_drop (lock);
  return r;
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
  if (faccessat (dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == -1)
    r = clear_lock (dirfd, dir, name, f);
  if (r == VIX_OK)
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
  VixError r;

  if (!hidden)
    return report_no_memory ();
  if (renameat (dirfd, name, dirfd, hidden) == -1)
    return report_errno (errno, name, "delete");
  r = directory_sync (dirfd, dir);
  if (r != VIX_OK)
    renameat (dirfd, hidden, dirfd, name);
  return r;
}

VixError
unfinished_begin_growth (int dirfd, const char *dir, const char *name, const char *text, size_t len,
                         struct file **guard)
{
  CLEANUP_FREE char *hidden = unfinished_name (name);
  VixError r = hidden ? file_create_at (dirfd, dir, hidden, 0600, guard) : report_no_memory ();

  if (r != VIX_OK)
    return r;
  r = lock_for_writing (*guard);
  if (r == VIX_OK)
    r = file_write (*guard, text, len, 0);
  if (r == VIX_OK)
    r = file_sync (*guard);
  if (r == VIX_OK)
    r = directory_sync (dirfd, dir);
  if (r != VIX_OK)
    unlinkat (dirfd, hidden, 0);
  return r;
}

VixError
unfinished_end (int dirfd, const char *dir, const char *name)
{
  CLEANUP_FREE char *hidden = unfinished_name (name);

  if (!hidden)
    return report_no_memory ();
  return unlinkat (dirfd, hidden, 0) == -1 && errno != ENOENT ? report_errno (errno, hidden, "delete") : directory_sync (dirfd, dir);
}

bool
unfinished_exists (int dirfd, const char *name)
{
  CLEANUP_FREE char *hidden = unfinished_name (name);

  return hidden && faccessat (dirfd, hidden, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
