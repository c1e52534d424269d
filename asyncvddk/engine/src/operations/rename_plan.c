/* What a rename makes of names: of the extents, of the change tracking file, of the way to the parent. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "operations/rename.h"

/* Name by the rule, for an extent that is not named after its disk; NULL when out of memory. */
static char *
name_by_rule (const struct renaming *n, size_t index)
{
  const struct descriptor *d = n->files.descriptor;
  const int base = (int) base_length (n->name);
  const enum extent_type type = d->extents[index].type;
  const char *word = type == EXTENT_VMFSSPARSE ? "delta"
                   : type == EXTENT_SESPARSE   ? "sesparse"
                   : type == EXTENT_SPARSE     ? NULL
                                               : "flat";
  char *name;
  int r = d->n_extents == 1 && word
            ? asprintf (&name, "%.*s-%s.vmdk", base, n->name, word)
            : asprintf (&name, "%.*s-%c%03zu.vmdk", base, n->name, word && *word == 'f' ? 'f' : 's', index + 1);

  return r == -1 ? NULL : name;
}

/* The new name of a file: what follows the disk's name stays. */
static char *
follow_base (const struct renaming *n, const char *old)
{
  char *name;

  return asprintf (&name, "%.*s%s", (int) base_length (n->name), n->name, old + base_length (n->files.name)) == -1 ? NULL
                                                                                                              : name;
}

/* Takes over to, which is NULL when out of memory. */
static VixError
add_name (struct renaming *n, const char *from, char *to)
{
  char *old = to ? strdup (from) : NULL;

  if (!old) {
    free (to);
    return report_no_memory ();
  }
  n->names[n->n_names++] = (struct new_name){ .from = old, .to = to };
  return check_plain_name (n->files.file->path, to);
}

/* NULL: the file has none yet. */
static const char *
planned_name (const struct renaming *n, const char *from)
{
  for (size_t i = 0; i < n->n_names; ++i)
    if (strcmp (n->names[i].from, from) == 0)
      return n->names[i].to;
  return NULL;
}

static VixError
plan_extents (struct renaming *n)
{
  struct descriptor *d = n->files.descriptor;
  VixError r = VIX_OK;

  for (size_t i = 0; r == VIX_OK && i < d->n_extents; ++i) {
    const char *old = d->extents[i].file;

    if (d->extents[i].type == EXTENT_DEVICE)
      return report (VIX_E_DISK_UNSUPPORTEDDEVICE, "%s: line %zu: disks on raw devices are not renamed",
                     n->files.file->path, d->extents[i].line);
    if (old && !planned_name (n, old))
      r = add_name (n, old, is_extent_name (n->files.name, old) ? follow_base (n, old) : name_by_rule (n, i));
  }
  return r;
}

static bool
same_folder (const struct renaming *n)
{
  struct stat a, b;

  return fstat (n->files.dirfd, &a) == 0 && fstat (n->dirfd, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Way from a folder to a file, both absolute and free of symbolic links; NULL when out of memory. */
static char *
relative_path (const char *folder, const char *file)
{
  size_t common = 0, ups = 0;
  char *path, *end;

  for (size_t i = 0; folder[i] == file[i] && folder[i]; ++i)
    if (file[i + 1] == '/' && (folder[i + 1] == '/' || folder[i + 1] == '\0'))
      common = i + 1;
  for (const char *c = folder + common; *c; ++c)
    ups += *c == '/' && c[1] != '\0';
  end = path = malloc (3 * ups + strlen (file) + 1);
  for (; path && ups > 0; --ups)
    end = stpcpy (end, "../");
  if (path)
    strcpy (end, file + common + 1);
  return path;
}

/* A relative way to the parent starts from another folder now.  n->hint stays NULL if nothing changes. */
static VixError
plan_hint (struct renaming *n)
{
  const char *hint = n->files.descriptor->parent_hint;
  CLEANUP_FREE char *path = NULL;
  CLEANUP_FREE char *folder = realpath (n->dir, NULL);

  if (!hint || !*hint || *hint == '/' || same_folder (n))
    return VIX_OK;
  if (!folder || asprintf (&path, "%s/%s", n->files.dir, hint) == -1)
    return report_no_memory ();
  n->absolute_hint = realpath (path, NULL);
  if (!n->absolute_hint)
    return report_errno (errno, path, "find the parent, to which the way from another folder would have to be known");
  n->hint = relative_path (folder, n->absolute_hint);
  return n->hint ? VIX_OK : report_no_memory ();
}

/* With the names of the extents and the way to the parent. */
static VixError
edit_descriptor (struct renaming *n)
{
  struct descriptor *d = n->files.descriptor;
  VixError r = VIX_OK;

  for (size_t i = 0; r == VIX_OK && i < d->n_extents; ++i)
    if (d->extents[i].file)
      r = descriptor_set_extent (d, i, d->extents[i].sectors,
                                 n->files.embedded_size > 0 ? n->name : planned_name (n, d->extents[i].file));
  if (r == VIX_OK && n->track)
    r = descriptor_set (d, "changeTrackPath", n->track);
  if (r == VIX_OK && n->hint)
    r = descriptor_set (d, "parentFileNameHint", n->hint);
  n->text = r == VIX_OK ? descriptor_text (d, &n->len) : NULL;
  return r == VIX_OK && !n->text ? report_no_memory () : r;
}

/* The whole of the descriptor with an absolute way to the parent, right in both folders. */
static VixError
make_interim (struct renaming *n)
{
  struct descriptor *d = n->files.descriptor;
  VixError r;

  n->original = descriptor_text (d, &n->original_len);
  r = n->original ? VIX_OK : report_no_memory ();
  if (r == VIX_OK)
    r = descriptor_set (d, "parentFileNameHint", n->absolute_hint);
  n->interim = r == VIX_OK ? descriptor_text (d, &n->interim_len) : NULL;
  return r == VIX_OK && !n->interim ? report_no_memory () : r;
}

VixError
plan_rename (struct renaming *n)
{
  struct disk_files *f = &n->files;
  VixError r = VIX_OK;

  n->names = calloc (f->descriptor->n_extents + 1, sizeof *n->names);
  if (!n->names)
    return report_no_memory ();
  if (f->embedded_size == 0)
    r = plan_extents (n);
  if (r == VIX_OK && f->change_track) {
    n->track = follow_base (n, f->change_track);
    r = add_name (n, f->change_track, n->track ? strdup (n->track) : NULL);
    if (r == VIX_OK)
      n->names[n->n_names - 1].optional = true;
  }
  if (r == VIX_OK)
    r = plan_hint (n);
  if (r == VIX_OK && n->hint && f->embedded_size > 0)
    r = make_interim (n);
  return r == VIX_OK ? edit_descriptor (n) : r;
}
