/* New disks.  The file with the descriptor comes first, under a temporary name: should we die, it tells the next one who
 * wants the name which extents are nobody's (unfinished.h).  Then the extents, under their own names.  The descriptor gets
 * its name when everything is on storage: a disk exists as a whole or not at all.  It may then take the place of an old
 * disk, whose extents have other names, and whose descriptor has the temporary name until they are gone. */
#define _GNU_SOURCE
#include "operations/create.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/deflate.h"
#include "formats/descriptor.h"
#include "formats/sparse/stream.h"
#include "operations/disk_files.h"
#include "operations/operations.h"
#include "operations/unfinished.h"

/* Sectors of a split extent: VMware's size below 2 GiB, for file systems that end there, and the larger one of newer
 * releases for disks that would need too many files. */
#define SPLIT_SECTORS 4192256ull
#define SPLIT_SECTORS_LARGE 8323072ull

#define KIND(type, line, ...) { .create_type = (type), .line_type = (line), __VA_ARGS__ }

static const struct kind kinds[] = {
  [VIXDISKLIB_DISK_MONOLITHIC_SPARSE] = KIND ("monolithicSparse", "SPARSE", .sparse = true),
  [VIXDISKLIB_DISK_MONOLITHIC_FLAT] = KIND ("monolithicFlat", "FLAT", .sparse = false),
  [VIXDISKLIB_DISK_SPLIT_SPARSE] = KIND ("twoGbMaxExtentSparse", "SPARSE", .sparse = true, .split = true),
  [VIXDISKLIB_DISK_SPLIT_FLAT] = KIND ("twoGbMaxExtentFlat", "FLAT", .split = true),
  [VIXDISKLIB_DISK_VMFS_FLAT] = KIND ("vmfs", "VMFS", .sparse = false),
  [VIXDISKLIB_DISK_STREAM_OPTIMIZED] = KIND ("streamOptimized", "SPARSE", .sparse = true, .stream = true),
  [VIXDISKLIB_DISK_VMFS_THIN] = KIND ("vmfs", "VMFS", .thin = true),
};

const struct kind *
find_kind (VixDiskLibDiskType type)
{
  return (size_t) type < sizeof kinds / sizeof *kinds && kinds[type].create_type ? &kinds[type] : NULL;
}

/* Creates a file and notes it. */
static VixError
create_file (struct creation *c, const char *name, struct file **out)
{
  char **created = reallocarray (c->created, c->n_created + 1, sizeof *created);
  VixError r;

  if (!created)
    return report_no_memory ();
  c->created = created;
  created[c->n_created] = strdup (name);
  if (!created[c->n_created])
    return report_no_memory ();
  r = file_create_at (c->dirfd, c->dir, name, 0666, out);
  if (r == VIX_OK)
    ++c->n_created;
  else
    free (created[c->n_created]);
  return r;
}

void
creation_end (struct creation *c)
{
  for (size_t i = c->n_created; i-- > 0;) { /* the list of the others goes last */
    if (!c->published)
      unlinkat (c->dirfd, c->created[i], 0);
    free (c->created[i]);
  }
  file_close (c->guard);
  free (c->created);
  free (c->dir);
  free (c->name);
  free (c->base);
  free (c->temporary);
  if (c->dirfd != -1)
    close (c->dirfd);
}

static VixError
check_params (const char *path, const VixDiskLibCreateParams *p)
{
  if (!find_kind (p->diskType))
    return report (VIX_E_NOT_SUPPORTED, "%s: disks of type %d cannot be created", path, (int) p->diskType);
  if (p->adapterType != VIXDISKLIB_ADAPTER_IDE && p->adapterType != VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC
      && p->adapterType != VIXDISKLIB_ADAPTER_SCSI_LSILOGIC)
    return report (VIX_E_INVALID_ARG, "%s: adapter type %d, possible are 1 (IDE), 2 (BusLogic) and 3 (LSI Logic)", path,
                   (int) p->adapterType);
  if (p->capacity == 0 || p->capacity > MAX_SECTORS)
    return report (VIX_E_INVALID_ARG, "%s: capacity of %llu sectors, possible are 1 to 2^40", path,
                   (unsigned long long) p->capacity);
  if (find_kind (p->diskType)->split && p->capacity > SPLIT_SECTORS_LARGE * DESCRIPTOR_MAX_EXTENTS)
    return report (VIX_E_FILE_TOO_BIG, "%s: would be split into more than %u files; create a flat disk", path,
                   DESCRIPTOR_MAX_EXTENTS);
  if (p->diskType == VIXDISKLIB_DISK_MONOLITHIC_SPARSE && p->capacity > SPARSE_MAX_FILE_SECTORS)
    return report (VIX_E_FILE_TOO_BIG, "%s: a monolithic sparse disk has at most 2 TiB; create a split or a flat one",
                   path);
  if (p->diskType != VIXDISKLIB_DISK_STREAM_OPTIMIZED)
    return VIX_OK;
  if (p->capacity > SPARSE_MAX_TABLES * SPARSE_GRAIN_SECTORS * SPARSE_GTES_PER_GT)
    return report (VIX_E_FILE_TOO_BIG, "%s: a compressed stream has at most 64 TiB", path);
  return deflate_available ();
}

/* Name of the index-th extent (from 0), malloc'ed. */
static char *
extent_name (const struct creation *c, unsigned index)
{
  const unsigned number = c->number + index + c->kind->split;
  char *name;
  int n = number > 0 ? asprintf (&name, "%s-%c%03u.vmdk", c->base, c->kind->sparse ? 's' : 'f', number)
                     : asprintf (&name, "%s-flat.vmdk", c->base);

  return n == -1 ? NULL : name;
}

bool
is_one_file (const struct creation *c)
{
  return c->kind->sparse && !c->kind->split;
}

/* The extents that a descriptor can list decide about the size of the larger ones. */
uint64_t
split_sectors (uint64_t capacity)
{
  return capacity > SPLIT_SECTORS * DESCRIPTOR_MAX_EXTENTS ? SPLIT_SECTORS_LARGE : SPLIT_SECTORS;
}

static uint64_t
extent_sectors (const struct creation *c)
{
  return c->kind->split ? split_sectors (c->params->capacity) : c->params->capacity;
}

/* Finds names that no file has, beside the old disk: the numbers behind those of its extents, or again the first ones. */
static VixError
choose_names (struct creation *c)
{
  const uint64_t n = (c->params->capacity - 1) / extent_sectors (c) + 1;
  struct stat st;

  for (unsigned i = 0; i < n; ++i) {
    CLEANUP_FREE char *name = extent_name (c, i);

    if (!name)
      return report_no_memory ();
    if (fstatat (c->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
      continue;
    c->number += i + 1;
    i = UINT_MAX;
  }
  return VIX_OK;
}

char *
creation_lines (const struct creation *c)
{
  const uint64_t capacity = c->params->capacity, size = extent_sectors (c);
  const char *type = c->kind->line_type;
  char *lines = NULL;
  size_t len;
  FILE *stream = open_memstream (&lines, &len);

  if (!stream)
    return NULL;
  for (uint64_t done = 0; done < capacity; done += size) {
    CLEANUP_FREE char *name = is_one_file (c) ? strdup (c->name) : extent_name (c, (unsigned) (done / size));

    if (!name) {
      fclose (stream);
      free (lines);
      return NULL;
    }
    fprintf (stream, "RW %llu %s \"%s\"%s\n", (unsigned long long) (capacity - done < size ? capacity - done : size),
             type, name, strcmp (type, "FLAT") == 0 ? " 0" : "");
  }
  if (fclose (stream) == 0)
    return lines;
  free (lines);
  return NULL;
}

static VixError
add_extent (struct creation *c, unsigned index, uint64_t sectors, uint64_t done)
{
  CLEANUP_FREE char *name = extent_name (c, index);
  CLEANUP_FILE struct file *f = NULL;
  VixError r = name ? create_file (c, name, &f) : report_no_memory ();

  if (r != VIX_OK)
    return r;
  r = c->kind->sparse ? create_sparse_extent (f, sectors, NULL, 0)
                      : create_flat_extent (c, f, sectors, c->kind->thin, done);
  return r == VIX_OK ? progress_tell (c->progress, progress_share (done + sectors, c->total)) : r;
}

static VixError
add_extents (struct creation *c)
{
  const uint64_t capacity = c->params->capacity, size = extent_sectors (c);
  VixError r = VIX_OK;

  for (uint64_t done = 0; r == VIX_OK && done < capacity; done += size)
    r = add_extent (c, (unsigned) (done / size), capacity - done < size ? capacity - done : size, done);
  return r;
}

/* Gives a file its name unless the name is taken. */
static VixError
rename_new (const struct creation *c, const char *from)
{
  CLEANUP_FREE char *path = NULL;
  int err = file_rename_new (c->dirfd, from, c->dirfd, c->name);

  if (err == 0)
    return VIX_OK;
  return asprintf (&path, "%s/%s", c->dir, c->name) == -1 ? report_no_memory () : report_errno (err, path, "create");
}

/* Content of the file with the descriptor, which is the whole disk if it is monolithic and sparse. */
static VixError
write_descriptor (struct creation *c, const struct file *f, const char *lines)
{
  const struct kind *kind = c->kind;
  size_t len;
  CLEANUP_FREE char *text = create_descriptor (c, kind->create_type, lines, kind->thin, &len);
  VixError r;

  if (!text)
    return report_no_memory ();
  if (kind->stream)
    return create_stream_extent (f, c->params->capacity, text, len);
  if (is_one_file (c))
    return create_sparse_extent (f, c->params->capacity, text, len);
  r = file_write (f, text, len, 0);
  return r == VIX_OK ? file_sync (f) : r;
}

/* The file is locked, so that nobody takes it for a dead one's. */
static VixError
add_descriptor (struct creation *c, const char *lines)
{
  VixError r;

  c->temporary = unfinished_name (c->name);
  r = c->temporary ? create_file (c, c->temporary, &c->guard) : report_no_memory ();
  if (r == VIX_OK)
    r = lock_for_writing (c->guard);
  if (r == VIX_OK)
    r = write_descriptor (c, c->guard, lines);
  return r == VIX_OK && !is_one_file (c) ? directory_sync (c->dirfd, c->dir) : r;
}

VixError
creation_make (struct creation *c)
{
  CLEANUP_FREE char *lines = NULL;
  VixError r = VIX_OK;

  c->total = c->total ? c->total : c->params->capacity;
  if (c->replace && !is_one_file (c))
    r = choose_names (c);
  if (r != VIX_OK)
    return r;
  lines = creation_lines (c);
  r = lines ? add_descriptor (c, lines) : report_no_memory ();
  return r == VIX_OK && !is_one_file (c) ? add_extents (c) : r;
}

/* Takes the place of the old disk, whose descriptor keeps the list of its extents under the temporary name. */
static VixError
replace_old (struct creation *c)
{
  int err = file_exchange (c->dirfd, c->temporary, c->name);

  c->exchanged = err == 0;
  if (err == EINVAL || err == ENOSYS)
    err = renameat (c->dirfd, c->temporary, c->dirfd, c->name) == 0 ? 0 : errno;
  return err == 0 ? VIX_OK : report_errno (err, c->name, "replace");
}

/* Back to the temporary name, and the old disk to its own, if there is one still.  If that fails, too, the disk stays. */
static void
take_back (struct creation *c)
{
  int err = -1;

  if (c->exchanged)
    err = file_exchange (c->dirfd, c->temporary, c->name);
  else if (!c->replace)
    err = renameat (c->dirfd, c->name, c->dirfd, c->temporary);
  if (err == 0)
    c->published = c->exchanged = false;
}

/* The extents' names are on storage before a descriptor speaks of them. */
VixError
creation_publish (struct creation *c)
{
  VixError r = progress_tell (c->progress, 100);

  if (r == VIX_OK && c->n_created > 1)
    r = directory_sync (c->dirfd, c->dir);
  if (r == VIX_OK)
    r = c->replace ? replace_old (c) : rename_new (c, c->temporary);
  c->published = r == VIX_OK;
  if (r == VIX_OK) {
    r = directory_sync (c->dirfd, c->dir);
    if (r != VIX_OK)
      take_back (c);
  }
  return r;
}

VixError
creation_set_base (struct creation *c)
{
  c->base = strndup (c->name, base_length (c->name));
  return c->base ? VIX_OK : report_no_memory ();
}

/* Folder and names. */
static VixError
prepare (struct creation *c, const char *path)
{
  struct stat st;
  VixError r = VIX_OK;

  c->dirfd = open_directory_of (path, &c->dir, &c->name, &r);
  if (c->dirfd == -1)
    return r;
  r = check_plain_name (path, c->name);
  if (r != VIX_OK)
    return r;
  if (strpbrk (c->name, "\"\n\r"))
    return report (VIX_E_FILE_NAME_INVALID, "%s: a disk's name may not contain quotes or line ends", path);
  r = unfinished_clear (c->dirfd, c->dir, c->name);
  if (r != VIX_OK)
    return r;
  if (!c->replace && fstatat (c->dirfd, c->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
    return report (VIX_E_FILE_ALREADY_EXISTS, "%s: exists already", path);
  return creation_set_base (c);
}

VixError
creation_begin (struct creation *c, const char *path)
{
  VixError r = check_params (path, c->params);

  c->dirfd = -1;
  if (r != VIX_OK)
    return r;
  c->kind = find_kind (c->params->diskType);
  r = prepare (c, path);
  return r == VIX_OK ? progress_tell (c->progress, 0) : r;
}

VixError
create_link (const char *path, struct creation *c)
{
  VixError r = creation_begin (c, path);

  if (r == VIX_OK)
    r = creation_make (c);
  if (r == VIX_OK)
    r = creation_publish (c);
  creation_end (c);
  return r;
}

VixError
disk_create (const char *path, const VixDiskLibCreateParams *p, bool has_sector_sizes, struct progress *progress)
{
  struct creation c = { .params = p, .has_sector_sizes = has_sector_sizes, .progress = progress };

  return create_link (path, &c);
}
