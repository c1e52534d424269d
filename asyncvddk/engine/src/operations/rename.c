/* Other names for the files of a disk.
 *
 * A disk of several files: the extents get their new names in addition to the old ones (hard links), then the new
 * descriptor appears, complete, then the old one becomes the list of what is to go (unfinished.h), then the old names of
 * the extents and the list go.  At every moment one of the two descriptors is there with all that it lists; between the
 * second and the third step both are, of one and the same disk.  Unlink of the old name ends what died behind that.  File
 * systems without hard links have the extents renamed one by one right before the new descriptor appears: there, and
 * only there, a crash in that moment leaves files that must be renamed by hand.
 *
 * A disk of one file is renamed by the file system; the name inside it, which nobody relies on, follows. */
#define _GNU_SOURCE
#include "operations/rename.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/descriptor_area.h"
#include "operations/operations.h"
#include "operations/unfinished.h"

static VixError
failed (const struct renaming *n, int err, const char *name, const char *doing)
{
  CLEANUP_FREE char *path = NULL;

  if (err == EXDEV)
    return report (VIX_E_NOT_SUPPORTED, "%s: %s is on another file system; clone the disk to there, then delete it",
                   n->files.file->path, n->dir);
  return asprintf (&path, "%s/%s", n->dir, name) == -1 ? report_no_memory () : report_errno (err, path, doing);
}

/* Folder and name, which nobody has yet. */
static VixError
open_target (struct renaming *n, const char *to)
{
  struct stat st;
  VixError r = VIX_OK;

  n->dirfd = open_directory_of (to, &n->dir, &n->name, &r);
  if (n->dirfd == -1)
    return r;
  r = check_plain_name (to, n->name);
  if (r == VIX_OK && strpbrk (n->name, "\"\n\r"))
    r = report (VIX_E_FILE_NAME_INVALID, "%s: a disk's name may not contain quotes or line ends", to);
  if (r == VIX_OK && fstatat (n->dirfd, n->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
    r = failed (n, EEXIST, n->name, "rename a disk to this");
  return r == VIX_OK && fstat (n->dirfd, &st) == 0 && st.st_dev != n->files.file->dev
           ? failed (n, EXDEV, n->name, "rename")
           : r;
}

/* True if an earlier call, which did not come to its end, gave the name already. */
static bool
is_same_file (const struct renaming *n, const struct new_name *name)
{
  struct stat a, b;

  return fstatat (n->files.dirfd, name->from, &a, AT_SYMLINK_NOFOLLOW) == 0
         && fstatat (n->dirfd, name->to, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* One name, by a hard link where the file system has them.  0, or errno. */
static int
give_name (const struct renaming *n, struct new_name *name)
{
  int err;

  if (linkat (n->files.dirfd, name->from, n->dirfd, name->to, 0) == 0
      || (errno == EEXIST && is_same_file (n, name))) {
    name->given = true;
    return 0;
  }
  if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
    return errno == ENOENT && name->optional ? 0 : errno;
  err = file_rename_new (n->files.dirfd, name->from, n->dirfd, name->to);
  name->given = name->moved = err == 0;
  return err == ENOENT && name->optional ? 0 : err;
}

static VixError
give_names (const struct renaming *n)
{
  for (size_t i = 0; i < n->n_names; ++i) {
    int err = give_name (n, &n->names[i]);

    if (err != 0)
      return failed (n, err, n->names[i].to, "rename an extent to this");
  }
  return directory_sync (n->dirfd, n->dir);
}

static void
take_names_back (const struct renaming *n)
{
  for (size_t i = 0; i < n->n_names; ++i) {
    const struct new_name *name = &n->names[i];

    if (name->moved && file_rename_new (n->dirfd, name->to, n->files.dirfd, name->from) != 0)
      engine_warn ("%s/%s: cannot get its old name %s/%s back: %m", n->dir, name->to, n->files.dir, name->from);
    else if (name->given && !name->moved)
      unlinkat (n->dirfd, name->to, 0);
  }
}

static void
drop_old_names (const struct renaming *n)
{
  for (size_t i = 0; i < n->n_names; ++i)
    if (n->names[i].given && !n->names[i].moved && unlinkat (n->files.dirfd, n->names[i].from, 0) == -1
        && errno != ENOENT)
      engine_warn ("%s/%s: is %s/%s now, but the old name cannot be deleted: %m", n->files.dir, n->names[i].from,
                   n->dir, n->names[i].to);
}

/* The new descriptor under a temporary name, on stable storage, with owner and permissions of the old one. */
static VixError
write_descriptor (const struct renaming *n, const char *name)
{
  CLEANUP_FILE struct file *f = NULL;
  struct stat st;
  VixError r;

  unlinkat (n->dirfd, name, 0); /* left behind by a process that died: the name is locked */
  r = file_create_at (n->dirfd, n->dir, name, 0600, &f);
  if (r != VIX_OK)
    return r;
  if (fstat (n->files.file->fd, &st) == -1 || fchown (f->fd, st.st_uid, st.st_gid) == -1
      || fchmod (f->fd, st.st_mode & 07777) == -1)
    engine_warn ("%s: owner or permissions could not be kept: %m", f->path);
  r = file_write (f, n->text, n->len, 0);
  return r == VIX_OK ? file_sync (f) : r;
}

/* The new descriptor appears, the old one goes; or neither. */
static VixError
exchange_descriptors (const struct renaming *n, const char *temporary)
{
  int err = file_rename_new (n->dirfd, temporary, n->dirfd, n->name);
  VixError r;

  if (err != 0)
    return failed (n, err, n->name, "create");
  r = directory_sync (n->dirfd, n->dir);
  if (r == VIX_OK)
    r = unfinished_begin_delete (n->files.dirfd, n->files.dir, n->files.name);
  if (r != VIX_OK)
    unlinkat (n->dirfd, n->name, 0);
  return r;
}

static VixError
rename_files (const struct renaming *n)
{
  CLEANUP_FREE char *temporary = NULL;
  VixError r;

  if (asprintf (&temporary, ".%s.tmp", n->name) == -1)
    return report_no_memory ();
  r = write_descriptor (n, temporary);
  if (r == VIX_OK)
    r = give_names (n);
  if (r == VIX_OK)
    r = exchange_descriptors (n, temporary);
  if (r != VIX_OK) {
    take_names_back (n);
    unlinkat (n->dirfd, temporary, 0);
    return r;
  }
  drop_old_names (n);
  remove_unfinished (n->files.dirfd, n->files.name);
  unfinished_end (n->files.dirfd, n->files.dir, n->files.name); /* the disk has its name: a list that stays is reported */
  return VIX_OK;
}

/* The descriptor in the file has the new name in it afterwards, if there is room. */
static void
follow_inside (const struct renaming *n)
{
  const struct disk_files *f = &n->files;

  if (!f->file->writable || n->len > f->embedded_size)
    engine_warn ("%s/%s: the name inside, which readers ignore, cannot follow", n->dir, n->name);
  else
    area_write (&(struct area){ f->file, f->embedded_offset, f->embedded_size }, n->text, n->len);
}

/* The file gets its name for certain, or keeps the old one. */
static VixError
move_file (const struct renaming *n)
{
  const struct disk_files *f = &n->files;
  int err = file_rename_new (f->dirfd, f->name, n->dirfd, n->name);
  VixError r;

  if (err != 0)
    return failed (n, err, n->name, "rename a disk to this");
  r = directory_sync (n->dirfd, n->dir);
  if (r == VIX_OK)
    r = directory_sync (f->dirfd, f->dir);
  if (r != VIX_OK)
    file_rename_new (n->dirfd, n->name, f->dirfd, f->name);
  return r;
}

static VixError
rename_single (const struct renaming *n)
{
  const struct disk_files *f = &n->files;
  VixError r = VIX_OK;

  if (n->hint && (!f->file->writable || n->len > f->embedded_size))
    return report (f->file->writable ? VIX_E_ARGUMENT_TOO_BIG : VIX_E_FILE_ACCESS_ERROR,
                   "%s: the way to the parent changes, but the descriptor inside cannot", f->file->path);
  if (n->interim)
    r = area_write (&(struct area){ f->file, f->embedded_offset, f->embedded_size }, n->interim, n->interim_len);
  if (r == VIX_OK)
    r = give_names (n);
  if (r == VIX_OK)
    r = move_file (n);
  if (r == VIX_OK) {
    follow_inside (n);
    drop_old_names (n);
    return VIX_OK;
  }
  take_names_back (n);
  if (n->interim)
    area_write (&(struct area){ f->file, f->embedded_offset, f->embedded_size }, n->original, n->original_len);
  return r;
}

static void
renaming_end (struct renaming *n)
{
  for (size_t i = 0; i < n->n_names; ++i) {
    free (n->names[i].from);
    free (n->names[i].to);
  }
  free (n->names);
  folder_lock_drop (n->lock);
  disk_files_close (&n->files);
  if (n->dirfd != -1)
    close (n->dirfd);
  free (n->dir);
  free (n->name);
  free (n->track);
  free (n->hint);
  free (n->absolute_hint);
  free (n->text);
  free (n->interim);
  free (n->original);
}

VixError
disk_rename (const char *from, const char *to)
{
  struct renaming n = { .dirfd = -1 };
  VixError r = disk_files_open (from, &n.files);

  if (r == VIX_OK)
    r = open_target (&n, to);
  if (r == VIX_OK)
    r = plan_rename (&n);
  if (r == VIX_OK)
    r = folder_lock_take (n.dirfd, n.dir, n.name, n.files.guard, &n.lock);
  if (r == VIX_OK)
    r = n.files.embedded_size > 0 ? rename_single (&n) : rename_files (&n);
  renaming_end (&n);
  return r;
}
