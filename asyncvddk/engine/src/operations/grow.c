/* A larger capacity.  What is added to the disk is made and on storage first, where no reader looks; then the header of
 * a sparse extent, then the descriptor say so.  Until that, all can be taken back; killed before it, the disk has its
 * old size (formats/sparse/grow.c), and what was made is in no reader's way.
 *
 * A grown disk has a new content id: who remembers the old one, a child elsewhere or a list of changes, remembers a
 * smaller disk. */
#define _GNU_SOURCE
#include "operations/grow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/sparse/sparse.h"
#include "operations/create.h"
#include "operations/disk_files.h"
#include "operations/operations.h"
#include "operations/unfinished.h"

#define TAIL_BYTES (1u << 20)

static struct extent *
last_extent (const struct growth *g)
{
  return g->link->extents[g->link->n_extents - 1];
}

/* Bytes behind the end of a flat extent are about to become content: they must be zeros, as those are that an
 * interrupted growth leaves. */
static VixError
check_tail (const struct file *f, uint64_t from)
{
  CLEANUP_FREE char *buf = malloc (TAIL_BYTES);

  if (!buf)
    return report_no_memory ();
  while (from < f->size) {
    uint64_t start, stop;
    VixError r;

    file_next_data (f, from, f->size, &start, &stop);
    if (start == f->size)
      break;
    stop = stop - start > TAIL_BYTES ? start + TAIL_BYTES : stop;
    r = file_read (f, buf, stop - start, start);
    if (r != VIX_OK)
      return r;
    if (buf[0] != 0 || memcmp (buf, buf + 1, stop - start - 1) != 0)
      return report (VIX_E_DISK_INVALIDDISK, "%s: has data behind the end of the disk, at byte %llu; move it away first",
                     f->path, (unsigned long long) start);
    from = stop;
  }
  return VIX_OK;
}

/* A flat file gets the bytes from..to. */
static VixError
extend_flat (const struct growth *g, const struct file *f, uint64_t from, uint64_t to, uint64_t done)
{
  VixError r = VIX_OK;

  if (f->size < to && ftruncate (f->fd, (off_t) to) == -1)
    return report_errno (errno, f->path, "set the size");
  if (!g->thin)
    r = reserve_flat (f, from, to, g->progress, done, g->capacity - link_sectors (g->link));
  return r == VIX_OK ? file_sync (f) : r;
}

static VixError
extend_last_flat (const struct growth *g)
{
  const struct file *f = last_extent (g)->file;
  const struct extent_line *line = &g->link->descriptor->extents[g->link->n_extents - 1];
  const uint64_t from = (line->offset + line->sectors) * SECTOR_SIZE;
  VixError r = check_tail (f, from);

  return r == VIX_OK ? extend_flat (g, f, from, (line->offset + g->last) * SECTOR_SIZE, 0) : r;
}

/* The index-th of the extents that are added. */
static VixError
add_extent (struct growth *g, size_t index, uint64_t done)
{
  const struct link *l = g->link;
  const struct extent_line *line = &g->grown->extents[l->n_extents + index];
  CLEANUP_FILE struct file *f = NULL;
  VixError r = file_create_at (l->dirfd, l->dir, line->file, 0666, &f);

  if (r != VIX_OK)
    return r;
  g->n_added = index + 1;
  r = g->sparse ? create_sparse_extent (f, line->sectors, NULL, 0)
                : extend_flat (g, f, 0, line->sectors * SECTOR_SIZE, done);
  return r == VIX_OK ? progress_tell (g->progress, progress_share (done + line->sectors, g->capacity - link_sectors (l)))
                     : r;
}

/* The names of new extents are free, and whoever finds them after our death knows whose they are. */
static VixError
begin_extents (struct growth *g)
{
  const struct link *l = g->link;
  CLEANUP_FREE char *text = NULL;
  struct stat st;
  size_t len;

  if (g->grown->n_extents == l->n_extents)
    return VIX_OK;
  for (size_t i = l->n_extents; i < g->grown->n_extents; ++i)
    if (fstatat (l->dirfd, g->grown->extents[i].file, &st, AT_SYMLINK_NOFOLLOW) == 0)
      return report (VIX_E_FILE_ALREADY_EXISTS,
                     "%s/%s: exists already; if it is of no disk any more, delete it or move it away", l->dir,
                     g->grown->extents[i].file);
  text = descriptor_text (g->grown, &len);
  return text ? unfinished_begin_growth (l->dirfd, l->dir, l->name, text, len, &g->list) : report_no_memory ();
}

/* All that takes long or space. */
static VixError
make_room (struct growth *g)
{
  uint64_t done = g->last - last_extent (g)->sectors;
  VixError r = g->sparse || done == 0 ? VIX_OK : extend_last_flat (g);

  if (r == VIX_OK)
    r = begin_extents (g);
  for (size_t i = 0; r == VIX_OK && g->link->n_extents + i < g->grown->n_extents; ++i) {
    r = add_extent (g, i, done);
    done += g->grown->extents[g->link->n_extents + i].sectors;
  }
  return r == VIX_OK && g->n_added > 0 ? directory_sync (g->link->dirfd, g->link->dir) : r;
}

/* Deletes what was added, unless it is the disk's, then the list of it. */
static void
end_extents (struct growth *g, bool keep)
{
  const struct link *l = g->link;

  for (size_t i = 0; !keep && i < g->n_added; ++i)
    unlinkat (l->dirfd, g->grown->extents[l->n_extents + i].file, 0);
  if (g->list)
    unfinished_end (l->dirfd, l->dir, l->name);
  file_close (g->list);
}

/* Cylinders only: who addressed the disk by heads and sectors finds everything where it was. */
static VixError
set_geometry (const struct growth *g)
{
  struct descriptor *d = g->grown;
  CLEANUP_FREE char *heads = descriptor_ddb_get (d, "geometry.heads");
  CLEANUP_FREE char *sectors = descriptor_ddb_get (d, "geometry.sectors");
  CLEANUP_FREE char *adapter = descriptor_ddb_get (d, "adapterType");
  const uint64_t size = (uint64_t) (heads ? atoi (heads) : 0) * (uint64_t) (sectors ? atoi (sectors) : 0);
  uint64_t cylinders = size > 0 && size <= 255 * 63 ? g->capacity / size : 0;
  char text[24];

  if (cylinders == 0)
    return VIX_OK;
  if (adapter && strcasecmp (adapter, "ide") == 0 && cylinders > 16383)
    cylinders = 16383;
  snprintf (text, sizeof text, "%llu", (unsigned long long) cylinders);
  return descriptor_ddb_set (d, "geometry.cylinders", text);
}

static VixError
add_line (const struct growth *g, uint64_t sectors)
{
  struct descriptor *d = g->grown;
  CLEANUP_FREE char *name = NULL;

  if (asprintf (&name, "%.*s-%c%03zu.vmdk", (int) base_length (g->link->name), g->link->name, g->sparse ? 's' : 'f',
                d->n_extents + 1)
      == -1)
    return report_no_memory ();
  return descriptor_add_extent (d, sectors, name);
}

static VixError
edit_descriptor (struct growth *g, bool update_geometry)
{
  VixError r = link_edit_descriptor (g->link, &g->grown);

  if (r == VIX_OK)
    r = descriptor_set_extent (g->grown, g->grown->n_extents - 1, g->last, NULL);
  while (r == VIX_OK && g->grown->capacity < g->capacity) {
    const uint64_t rest = g->capacity - g->grown->capacity;

    r = add_line (g, rest < g->split ? rest : g->split);
  }
  if (r == VIX_OK && update_geometry)
    r = set_geometry (g);
  return r == VIX_OK ? descriptor_set_cid (g->grown, random_cid ()) : r;
}

/* The header, and a descriptor inside the file, for the way back. */
static VixError
grow_last_sparse (struct growth *g)
{
  struct extent *e = last_extent (g);

  if (!g->sparse || g->last == e->sectors)
    return VIX_OK;
  g->before_len = g->link->embedded_offset + g->link->embedded_size;
  g->before_len = g->before_len > SECTOR_SIZE ? g->before_len : SECTOR_SIZE;
  g->before = malloc (g->before_len);
  VixError r = g->before ? file_read (e->file, g->before, g->before_len, 0) : report_no_memory ();

  if (r != VIX_OK) {
    free (g->before);
    g->before = NULL;
    return r;
  }
  return sparse_grow (e, g->last);
}

/* Everything as before. */
static void
undo_growth (struct growth *g)
{
  const struct file *f = last_extent (g)->file;

  if (g->before && (file_write (f, g->before, g->before_len, 0) != VIX_OK || file_sync (f) != VIX_OK)) {
    sparse_stay_unclean (last_extent (g));
    return; /* the header may lead to what would be cut off */
  }
  if (ftruncate (f->fd, (off_t) g->last_size) == -1)
    report_errno (errno, f->path, "set the size back");
}

/* A descriptor that took its place, but whose folder could not be written to storage, stays. */
static VixError
store_descriptor (struct growth *g, bool *stored)
{
  const ino_t before = g->link->ino;
  VixError r = link_replace_descriptor (g->link, g->grown);

  *stored = r == VIX_OK || g->link->ino != before;
  return r;
}

static VixError
grow_link (struct growth *g, bool update_geometry)
{
  bool stored = false;
  VixError r = plan_growth (g);

  if (r == VIX_OK)
    r = unfinished_clear (g->link->dirfd, g->link->dir, g->link->name);
  if (r == VIX_OK)
    r = edit_descriptor (g, update_geometry);
  if (r == VIX_OK)
    r = progress_tell (g->progress, 0);
  if (r == VIX_OK)
    r = make_room (g);
  if (r == VIX_OK)
    r = progress_tell (g->progress, 100);
  if (r == VIX_OK)
    r = grow_last_sparse (g);
  if (r == VIX_OK)
    r = store_descriptor (g, &stored);
  if (!stored && g->grown)
    undo_growth (g);
  if (g->grown)
    end_extents (g, stored);
  descriptor_free (g->grown);
  free (g->before);
  return r;
}

VixError
disk_grow (const char *path, uint64 capacity, bool update_geometry, struct progress *progress)
{
  struct growth g = { .capacity = capacity, .progress = progress };
  VixError r = link_open (path, true, &g.link), closed;

  if (r != VIX_OK)
    return r;
  if (capacity < link_sectors (g.link) || capacity > MAX_SECTORS)
    r = report (VIX_E_INVALID_ARG, "%s: has %llu sectors; it can grow to 2^40, and not to %llu", path,
                (unsigned long long) link_sectors (g.link), (unsigned long long) capacity);
  else if (capacity > link_sectors (g.link))
    r = grow_link (&g, update_geometry);
  else /* as one that died at its very end had made it */
    r = unfinished_clear (g.link->dirfd, g.link->dir, g.link->name);
  closed = link_close (g.link);
  return r == VIX_OK ? closed : r;
}
