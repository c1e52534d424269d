#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/descriptor_area.h"
#include "disk/link.h"
#include "disk/lock.h"
#include "formats/sparse/format.h"

VixError
link_close (struct link *l)
{
  VixError r = VIX_OK;

  if (!l)
    return VIX_OK;
  for (size_t i = 0; i < l->n_extents; ++i) {
    VixError e = l->extents[i]->ops->close (l->extents[i]);

    r = r == VIX_OK ? e : r;
  }
  folder_lock_drop (l->lock); /* when nothing is written any more */
  free (l->extents);
  descriptor_free (l->descriptor);
  if (l->dirfd != -1)
    close (l->dirfd);
  free (l->path);
  free (l->dir);
  free (l->name);
  free (l);
  return r;
}

VixError
link_flush (struct link *l)
{
  VixError r = VIX_OK;

  for (size_t i = 0; i < l->n_extents; ++i) {
    struct extent *e = l->extents[i];
    VixError one = e->ops->flush ? e->ops->flush (e) : VIX_OK;

    r = r == VIX_OK ? one : r;
  }
  return r;
}

struct extent *
link_extent (const struct link *l, uint64_t sector)
{
  size_t low = 0, high = l->n_extents;

  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;

    if (l->extents[middle]->start <= sector)
      low = middle;
    else
      high = middle;
  }
  return l->extents[low];
}

/* Appends e (taken over) to the link's extents. */
static VixError
add_extent (struct link *l, struct extent *e)
{
  struct extent **extents = reallocarray (l->extents, l->n_extents + 1, sizeof *extents);

  if (!extents) {
    e->ops->close (e);
    return report_no_memory ();
  }
  l->extents = extents;
  if (l->n_extents > 0)
    e->start = extents[l->n_extents - 1]->start + extents[l->n_extents - 1]->sectors;
  extents[l->n_extents++] = e;
  return VIX_OK;
}

#define COWD_MAGIC 0x44574f43u     /* "COWD" */
#define SESPARSE_MAGIC 0xcafebabeu /* the lower half */

typedef VixError extent_opener (const struct extent_source *source, struct extent **out);

/* Sparse formats are told apart by the first bytes, as every reader does, not by the word in the extent line. */
static VixError
find_sparse_format (const struct file *f, extent_opener **opener)
{
  uint32_t magic = 0;
  VixError r = f->size < sizeof magic ? VIX_OK : file_read (f, &magic, sizeof magic, 0);

  *opener = le32toh (magic) == COWD_MAGIC     ? cowd_open
          : le32toh (magic) == SESPARSE_MAGIC ? sesparse_open
                                              : sparse_open; /* which also refuses what is no format at all */
  return r;
}

static VixError
unjudged_close (struct extent *e)
{
  file_close (e->file);
  free (e);
  return VIX_OK;
}

/* An extent_opener that looks at nothing. */
static VixError
unjudged_open (const struct extent_source *source, struct extent **out)
{
  static const struct extent_ops ops = { .close = unjudged_close };
  struct extent *e = calloc (1, sizeof *e);

  if (!e)
    return report_no_memory ();
  *e = (struct extent){ .ops = &ops, .file = source->file, .sectors = source->line->sectors };
  *out = e;
  return VIX_OK;
}

static VixError
find_format (const struct extent_source *source, extent_opener **opener)
{
  const struct extent_line *line = source->line;

  if (line->access == ACCESS_NOACCESS && line->type != EXTENT_ZERO)
    return report (VIX_E_DISK_NOTSUPPORTED, "%s: line %zu: extents without access are not supported", source->where,
                   line->line);
  switch (line->type) {
  case EXTENT_FLAT:
  case EXTENT_VMFS: *opener = flat_open; return VIX_OK;
  case EXTENT_ZERO: *opener = zero_open; return VIX_OK;
  case EXTENT_SPARSE:
  case EXTENT_VMFSSPARSE:
  case EXTENT_SESPARSE: return find_sparse_format (source->file, opener);
  default:
    return report (VIX_E_DISK_UNSUPPORTEDDEVICE, "%s: line %zu: raw devices are not supported", source->where,
                   line->line);
  }
}

/* Opens an extent; source->file is taken over in any case. */
static VixError
open_extent (struct link *l, const struct extent_source *source)
{
  extent_opener *opener = NULL;
  struct extent *e = NULL;
  VixError r = find_format (source, &opener);

  if (l->unjudged && (opener == sparse_open || opener == flat_open))
    opener = unjudged_open;
  if (r == VIX_OK)
    r = opener (source, &e);
  if (r != VIX_OK) {
    file_close (source->file);
    return r;
  }
  r = add_extent (l, e);
  if (r == VIX_OK && !l->unjudged && e->file && e->file->writable && !e->ops->write)
    r = report (VIX_E_NOT_SUPPORTED, "%s: extents of this format are only read; open the disk read-only",
                e->file->path);
  return r;
}

/* Lines that use one file must use different parts of it, which only flat extents can.  *shared: one does. */
static VixError
check_overlap (const struct link *l, const struct extent_line *line, const struct file *f, bool *shared)
{
  const struct extent_line *lines = l->descriptor->extents;

  if (f->dev == l->dev && f->ino == l->ino)
    return report (VIX_E_DISK_INVALIDDISK, "%s: line %zu: the extent is the descriptor itself", l->path, line->line);
  *shared = false;
  for (size_t i = 0; i < l->n_extents; ++i) {
    const struct file *other = l->extents[i]->file;

    if (!other || other->dev != f->dev || other->ino != f->ino)
      continue;
    *shared = true;
    if (line->type != EXTENT_FLAT || lines[i].type != EXTENT_FLAT
        || (line->offset < lines[i].offset + lines[i].sectors && lines[i].offset < line->offset + line->sectors))
      return report (VIX_E_DISK_INVALIDDISK, "%s: line %zu: the extent overlaps that of line %zu in %s", l->path,
                     line->line, lines[i].line, f->path);
  }
  return VIX_OK;
}

/* Against other writers, as far as the use of the link needs it.  The first file of a writer's link takes the entry in the
 * lock folder with it, before anything is mended. */
static VixError
lock_extent (struct link *l, struct file *f)
{
  VixError r = f->writable ? lock_for_writing (f) : l->unjudged ? lock_against_writers (f) : VIX_OK;

  if (r != VIX_OK || !f->writable || l->entered)
    return r;
  l->entered = true;
  return folder_lock_take (l->dirfd, l->dir, l->name, f, &l->lock);
}

/* Opens the file of an extent line that stands in a text descriptor. */
static VixError
open_listed_extent (struct link *l, const struct extent_line *line)
{
  struct extent_source source = { .line = line, .where = l->path, .of = l->descriptor->n_extents };
  bool shared = false;
  VixError r = VIX_OK;

  if (line->file && line->type != EXTENT_DEVICE) {
    r = file_open_at (l->dirfd, l->dir, line->file, l->writable && line->access == ACCESS_RW, &source.file);
    if (r == VIX_OK)
      r = check_overlap (l, line, source.file, &shared);
    if (r == VIX_OK && !shared)
      r = lock_extent (l, source.file);
  }
  if (r != VIX_OK) {
    file_close (source.file);
    return r;
  }
  return open_extent (l, &source);
}

/* The file with the descriptor. */
static VixError
open_own_file (const struct link *l, bool writable, struct file **f)
{
  return l->inside ? file_open_at (l->dirfd, l->dir, l->name, writable, f) : file_open (l->path, writable, f);
}

/* The descriptor again, now that the extents are locked: another writer may have replaced it in the meantime. */
static VixError
check_unchanged (const struct link *l)
{
  CLEANUP_FILE struct file *f = NULL;
  VixError r = open_own_file (l, false, &f);

  if (r == VIX_OK && (f->dev != l->dev || f->ino != l->ino))
    r = report (VIX_E_FILE_ALREADY_LOCKED, "%s: was changed by another writer while it was being opened; try again",
                l->path);
  return r;
}

static VixError
open_text_link (struct link *l)
{
  VixError r = VIX_OK;

  for (size_t i = 0; r == VIX_OK && i < l->descriptor->n_extents; ++i)
    r = open_listed_extent (l, &l->descriptor->extents[i]);
  return r == VIX_OK && l->writable ? check_unchanged (l) : r;
}

/* The one file of the link; taken over in any case. */
static VixError
open_embedded_link (struct link *l, struct file *f)
{
  const struct extent_source source = {
    .file = f, .line = &l->descriptor->extents[0], .where = l->path, .embedded = true
  };

  if (l->descriptor->n_extents != 1 || source.line->type != EXTENT_SPARSE) {
    file_close (f);
    return report (VIX_E_DISK_INVALIDDISK, "%s: the descriptor inside must list one SPARSE extent, the file itself",
                   l->path);
  }
  return open_extent (l, &source);
}

/* Path, folder and inode; the file with the descriptor, locked if it is also the extent. */
static VixError
open_descriptor_file (struct link *l, const char *path, struct file **f)
{
  char magic[4] = "";
  VixError r = VIX_OK;

  l->path = realpath (path, NULL);
  if (!l->path)
    return report_errno (errno, path, "open");
  l->dirfd = l->inside ? open_directory_beneath (l->inside, l->path, &l->dir, &l->name, &r)
                       : open_directory_of (l->path, &l->dir, &l->name, &r);
  if (l->dirfd == -1)
    return r;
  r = open_own_file (l, l->writable, f);
  if (r != VIX_OK)
    return r;
  l->dev = (*f)->dev;
  l->ino = (*f)->ino;
  if ((*f)->size >= sizeof magic)
    r = file_read (*f, magic, sizeof magic, 0);
  return r == VIX_OK && memcmp (magic, "KDMV", 4) == 0 ? lock_extent (l, *f) : r;
}

static VixError
open_parts (struct link *l, const char *path)
{
  struct file *f = NULL;
  VixError r = open_descriptor_file (l, path, &f);

  if (r == VIX_OK)
    r = (l->unjudged ? rescue_descriptor : read_descriptor) (f, &l->embedded_offset, &l->embedded_size, &l->descriptor);
  if (r == VIX_OK && l->embedded_size > 0 && l->writable)
    r = area_mend (&(struct area){ f, l->embedded_offset, l->embedded_size });
  if (r == VIX_OK && l->embedded_size > 0)
    return open_embedded_link (l, f);
  file_close (f);
  return r == VIX_OK ? open_text_link (l) : r;
}

static VixError
open_new (const struct folders *inside, const char *path, bool writable, bool unjudged, struct link **out)
{
  struct link *l = calloc (1, sizeof *l);
  VixError r;

  *out = NULL;
  if (!l)
    return report_no_memory ();
  l->dirfd = -1;
  l->writable = writable;
  l->unjudged = unjudged;
  l->inside = inside;
  r = open_parts (l, path);
  if (r == VIX_OK && writable && !l->entered)
    r = folder_lock_take (l->dirfd, l->dir, l->name, NULL, &l->lock);
  if (r != VIX_OK) {
    link_close (l);
    return r;
  }
  *out = l;
  return VIX_OK;
}

VixError
link_open (const char *path, bool writable, struct link **out)
{
  return open_new (NULL, path, writable, false, out);
}

VixError
link_open_inside (const struct folders *inside, const char *path, bool writable, struct link **out)
{
  return open_new (inside, path, writable, false, out);
}

VixError
link_open_to_check (const char *path, bool repair, struct link **out)
{
  return open_new (NULL, path, repair, true, out);
}
