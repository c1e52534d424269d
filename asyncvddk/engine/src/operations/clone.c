/* Copying a disk into another type.  The clone is made as new disks are, filled before it gets its name; then it takes
 * the place of the old disk with that name, if there is one, whose extents go last. */
#define _GNU_SOURCE
#include "operations/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operations/create.h"
#include "operations/disk_files.h"
#include "operations/operations.h"

#define CREATION_PERCENT 10 /* of the progress */

static VixDiskLibDiskType
type_of (struct disk *d)
{
  static const VixDiskLibDiskType types[] = { VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT,
                                              VIXDISKLIB_DISK_SPLIT_SPARSE, VIXDISKLIB_DISK_SPLIT_FLAT,
                                              VIXDISKLIB_DISK_STREAM_OPTIMIZED };
  const char *type = d->top->descriptor->create_type;
  CLEANUP_FREE char *thin = disk_ddb_get (d, "thinProvisioned");

  if (strncasecmp (type, "vmfs", 4) == 0 && d->top->descriptor->extents[0].type == EXTENT_VMFS)
    return thin && strcmp (thin, "1") == 0 ? VIXDISKLIB_DISK_VMFS_THIN : VIXDISKLIB_DISK_VMFS_FLAT;
  for (size_t i = 0; i < sizeof types / sizeof *types; ++i)
    if (strcasecmp (type, find_kind (types[i])->create_type) == 0)
      return types[i];
  return VIXDISKLIB_DISK_MONOLITHIC_SPARSE; /* what is only read: redo logs of ESXi, mixtures */
}

VixDiskLibCreateParams
clone_params (struct disk *from, const VixDiskLibCreateParams *p)
{
  VixDiskLibCreateParams params = { .diskType = p->diskType, .adapterType = p->adapterType, .hwVersion = p->hwVersion };
  CLEANUP_FREE char *version = disk_ddb_get (from, "virtualHWVersion");
  struct disk_info info;

  disk_find_info (from, &info);
  params.capacity = info.capacity;
  if (params.diskType == VIXDISKLIB_DISK_UNKNOWN)
    params.diskType = type_of (from);
  if (params.adapterType == 0 || params.adapterType == VIXDISKLIB_ADAPTER_UNKNOWN)
    params.adapterType = info.adapter != VIXDISKLIB_ADAPTER_UNKNOWN ? (VixDiskLibAdapterType) info.adapter
                                                                    : VIXDISKLIB_ADAPTER_SCSI_LSILOGIC;
  if (params.hwVersion == 0 && version)
    params.hwVersion = (uint16) strtoul (version, NULL, 10);
  return params;
}

struct clone {
  struct disk *from;
  VixDiskLibCreateParams params;
  struct creation creation;
  struct disk_files old; /* if creation.replace */
};

static bool
uses_file (const struct disk *d, const struct file *f)
{
  for (const struct link *l = d->top; f && l; l = l->parent) {
    if (l->dev == f->dev && l->ino == f->ino)
      return true;
    for (size_t i = 0; i < l->n_extents; ++i)
      if (l->extents[i]->file && l->extents[i]->file->dev == f->dev && l->extents[i]->file->ino == f->ino)
        return true;
  }
  return false;
}

/* Locks the disk that has the name.  VIX_E_INVALID_ARG: it is the source, or one of its parents. */
static VixError
doom_old (struct clone *c, const char *to)
{
  VixError r = disk_files_open (to, &c->old);
  bool shared;

  if (r == VIX_OK)
    r = disk_files_check_names (&c->old);
  if (r != VIX_OK)
    return r;
  shared = uses_file (c->from, c->old.file);
  for (size_t i = 0; c->old.extents && i < c->old.descriptor->n_extents; ++i)
    shared = shared || uses_file (c->from, c->old.extents[i]);
  return shared ? report (VIX_E_INVALID_ARG, "%s: is what is to be cloned, or a parent of it; clone to another name", to)
                : VIX_OK;
}

/* Is there something to replace? */
static VixError
look_at_target (struct clone *c, const char *to, bool overwrite)
{
  struct stat st;

  if (!overwrite || lstat (to, &st) == -1)
    return VIX_OK;
  if (S_ISLNK (st.st_mode))
    return report (VIX_E_FILE_ALREADY_EXISTS, "%s: is a symbolic link, which is not overwritten", to);
  c->creation.replace = true;
  return doom_old (c, to);
}

/* content_function */
static VixError
write_content (void *opaque, uint64_t start, uint64_t count, const uint8_t *data)
{
  return disk_write (opaque, start, count, data);
}

static VixError
write_all (const struct clone *c, struct disk *to)
{
  VixError r = clone_metadata (c->from, to->top->descriptor);

  if (r == VIX_OK)
    r = link_store_descriptor (to->top);
  return r == VIX_OK ? clone_content (c->from, write_content, to, c->creation.progress, CREATION_PERCENT) : r;
}

/* The file is locked again, now that it is full, or somebody took it for a dead one's in the meantime. */
static VixError
guard_again (struct creation *c, ino_t ino)
{
  VixError r = file_open_at (c->dirfd, c->dir, c->temporary, true, &c->guard);

  if (r == VIX_OK)
    r = lock_for_writing (c->guard);
  if (r == VIX_OK && c->guard->ino != ino)
    r = report (VIX_E_FILE_ALREADY_LOCKED, "%s: another process makes a disk of this name", c->guard->path);
  if (r != VIX_OK)
    c->published = true; /* it is not ours any more: nothing to delete */
  return r;
}

/* Opens the new disk under its temporary name and writes to it. */
static VixError
fill_files (struct clone *c, const char *path)
{
  const ino_t ino = c->creation.guard->ino;
  struct disk *to;
  VixError r, closed;

  if (is_one_file (&c->creation)) {
    file_close (c->creation.guard);
    c->creation.guard = NULL;
  }
  r = disk_open (path, 0, &to);
  if (r != VIX_OK)
    return r;
  r = write_all (c, to);
  closed = disk_close (to);
  r = r == VIX_OK ? closed : r;
  return r == VIX_OK && !c->creation.guard ? guard_again (&c->creation, ino) : r;
}

/* The new disk is opened once more when it is full: what cannot be opened is no clone. */
static VixError
fill (struct clone *c)
{
  CLEANUP_FREE char *path = NULL;
  struct disk *to;
  VixError r;

  if (asprintf (&path, "%s/%s", c->creation.dir, c->creation.temporary) == -1)
    return report_no_memory ();
  r = fill_files (c, path);
  if (r != VIX_OK)
    return r;
  r = disk_open (path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &to);
  return r == VIX_OK ? disk_close (to) : r;
}

static bool
was_created (const struct creation *c, const char *name)
{
  for (size_t i = 0; i < c->n_created; ++i)
    if (strcmp (c->created[i], name) == 0)
      return true;
  return false;
}

/* The clone is in place: what is left of the old disk may go, and a failure to delete it is only reported. */
static void
delete_old_extents (const struct clone *c)
{
  const struct disk_files *old = &c->old;

  for (size_t i = 0; old->embedded_size == 0 && i < old->descriptor->n_extents; ++i) {
    const struct extent_line *line = &old->descriptor->extents[i];

    if (has_file (line) && !was_created (&c->creation, line->file)
        && unlinkat (old->dirfd, line->file, 0) == -1 && errno != ENOENT)
      report_errno (errno, line->file, "delete this extent of the disk that was overwritten");
  }
  if (old->change_track && unlinkat (old->dirfd, old->change_track, 0) == -1 && errno != ENOENT)
    report_errno (errno, old->change_track, "delete this file of the disk that was overwritten");
  if (c->creation.exchanged && unlinkat (old->dirfd, c->creation.temporary, 0) == -1)
    report_errno (errno, c->creation.temporary, "delete what is left of the disk that was overwritten");
  directory_sync (old->dirfd, old->dir);
}

static VixError
make_clone (struct clone *c, const char *to, bool overwrite)
{
  VixError r = look_at_target (c, to, overwrite);

  if (r == VIX_OK)
    r = creation_begin (&c->creation, to);
  if (r == VIX_OK)
    r = creation_make (&c->creation);
  if (r == VIX_OK)
    r = fill (c);
  if (r == VIX_OK)
    r = creation_publish (&c->creation);
  if (r == VIX_OK && c->creation.replace)
    delete_old_extents (c);
  return r;
}

/* Sector sizes are those of the source, as all of its database. */
VixError
disk_clone (const char *to, const char *from, const struct folders *inside, const VixDiskLibCreateParams *p,
            bool overwrite, struct progress *progress)
{
  struct clone c = { .creation = { .params = &c.params, .progress = progress, .dirfd = -1 }, .old = { .dirfd = -1 } };
  VixError r = disk_open_inside (inside, from, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &c.from);

  if (r != VIX_OK)
    return r;
  c.params = clone_params (c.from, p);
  c.creation.total = c.params.capacity * (100 / CREATION_PERCENT);
  r = make_clone (&c, to, overwrite);
  creation_end (&c.creation);
  disk_files_close (&c.old);
  disk_close (c.from);
  return r;
}
