#define _GNU_SOURCE
#include "operations/new_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/lock.h"

static VixError
taken (const struct new_files *s, const char *name)
{
  return report (VIX_E_FILE_ALREADY_EXISTS,
                 "%s/%s: exists already; if it is of no disk any more, delete it or move it away", s->dir, name);
}

/* Removes a file that nobody is making any more. */
static VixError
remove_leftover (const struct new_files *s, const char *name, const char *temporary)
{
  CLEANUP_FILE struct file *f = NULL;
  struct stat st;
  VixError r = file_open_at (s->dirfd, s->dir, temporary, true, &f);

  if (r == VIX_OK)
    r = lock_for_writing (f);
  if (r != VIX_OK)
    return r;
  engine_warn ("%s: was left behind by a process that did not end properly; removed", f->path);
  if (fstatat (s->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
    unlinkat (s->dirfd, name, 0);
  return unlinkat (s->dirfd, temporary, 0) == -1 ? report_errno (errno, f->path, "remove") : VIX_OK;
}

/* Makes and locks the file. */
static VixError
create_locked (const struct new_files *s, struct new_file *n, struct file **out)
{
  struct stat st;
  VixError r = VIX_OK;

  if (fstatat (s->dirfd, n->temporary, &st, AT_SYMLINK_NOFOLLOW) == 0)
    r = remove_leftover (s, n->name, n->temporary);
  if (r == VIX_OK && fstatat (s->dirfd, n->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
    r = taken (s, n->name);
  if (r == VIX_OK)
    r = file_create_at (s->dirfd, s->dir, n->temporary, 0666, out);
  if (r != VIX_OK)
    return r;
  r = lock_for_writing (*out);
  n->guard = r == VIX_OK ? fcntl ((*out)->fd, F_DUPFD_CLOEXEC, 0) : -1;
  return r == VIX_OK && n->guard == -1 ? report_errno (errno, (*out)->path, "keep") : r;
}

static void
new_file_free (struct new_file *n)
{
  if (n->guard != -1)
    close (n->guard);
  free (n->name);
  free (n->temporary);
}

VixError
new_file_create (struct new_files *s, const char *name, struct file **out)
{
  struct new_file *files = reallocarray (s->files, s->n + 1, sizeof *files);
  struct new_file n = { .guard = -1 };
  VixError r = VIX_OK;

  if (!files)
    return report_no_memory ();
  s->files = files;
  n.name = strdup (name);
  if (!n.name || asprintf (&n.temporary, ".%s.new", name) == -1) {
    n.temporary = NULL;
    r = report_no_memory ();
  }
  if (r == VIX_OK)
    r = create_locked (s, &n, out);
  if (r == VIX_OK)
    files[s->n++] = n;
  else {
    if (*out) { /* made, then something failed */
      unlinkat (s->dirfd, n.temporary, 0);
      file_close (*out);
      *out = NULL;
    }
    new_file_free (&n);
  }
  return r;
}

/* 0, or errno. */
static int
publish (const struct new_files *s, struct new_file *n)
{
  int err = linkat (s->dirfd, n->temporary, s->dirfd, n->name, 0) == 0 ? 0 : errno;

  if (err == EPERM || err == EOPNOTSUPP || err == ENOSYS) {
    err = file_rename_new (s->dirfd, n->temporary, s->dirfd, n->name);
    n->moved = err == 0;
  }
  n->published = err == 0;
  return err;
}

VixError
new_files_publish (struct new_files *s)
{
  for (size_t i = 0; i < s->n; ++i) {
    struct new_file *n = &s->files[i];
    int err = publish (s, n);

    if (err != 0)
      return err == EEXIST ? taken (s, n->name) : report_errno (err, n->name, "create");
  }
  return s->n > 0 ? directory_sync (s->dirfd, s->dir) : VIX_OK;
}

void
new_file_forget (int dirfd, const char *name)
{
  CLEANUP_FREE char *temporary = NULL;

  if (asprintf (&temporary, ".%s.new", name) != -1)
    unlinkat (dirfd, temporary, 0);
}

void
new_files_end (struct new_files *s, bool keep)
{
  for (size_t i = 0; i < s->n; ++i) {
    struct new_file *n = &s->files[i];

    if (n->published && !keep)
      unlinkat (s->dirfd, n->name, 0);
    if (!n->moved)
      unlinkat (s->dirfd, n->temporary, 0);
    new_file_free (n);
  }
  free (s->files);
}
