/* New disks.  Extents come first, under their own names; the file with the descriptor is made under a temporary name
 * and gets its own when everything is on storage: a disk exists as a whole or not at all. */
#define _GNU_SOURCE
#include "operations/create.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/descriptor.h"
#include "operations/operations.h"
#include "formats/sparse/sparse.h"

/* Sectors of a split extent: VMware's size below 2 GiB, for file systems that end there, and the larger one of newer
 * releases for disks that would need too many files. */
#define SPLIT_SECTORS 4192256ull
#define SPLIT_SECTORS_LARGE 8323072ull

/* How a disk type is made. */
static const struct kind {
  const char *create_type, *line_type;
  bool sparse, split, thin;
} kinds[] = {
  [VIXDISKLIB_DISK_MONOLITHIC_SPARSE] = { "monolithicSparse", "SPARSE", true, false, false },
  [VIXDISKLIB_DISK_MONOLITHIC_FLAT] = { "monolithicFlat", "FLAT", false, false, false },
  [VIXDISKLIB_DISK_SPLIT_SPARSE] = { "twoGbMaxExtentSparse", "SPARSE", true, true, false },
  [VIXDISKLIB_DISK_SPLIT_FLAT] = { "twoGbMaxExtentFlat", "FLAT", false, true, false },
  [VIXDISKLIB_DISK_VMFS_FLAT] = { "vmfs", "VMFS", false, false, false },
  [VIXDISKLIB_DISK_STREAM_OPTIMIZED] = { NULL, NULL, false, false, false },
  [VIXDISKLIB_DISK_VMFS_THIN] = { "vmfs", "VMFS", false, false, true },
};

VixError
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

/* Deletes what was made, unless it is complete, and frees. */
static void
creation_end (struct creation *c, bool complete)
{
  for (size_t i = 0; i < c->n_created; ++i) {
    if (!complete)
      unlinkat (c->dirfd, c->created[i], 0);
    free (c->created[i]);
  }
  free (c->created);
  free (c->dir);
  free (c->name);
  free (c->base);
  if (c->dirfd != -1)
    close (c->dirfd);
}

static VixError
check_params (const char *path, const VixDiskLibCreateParams *p)
{
  if ((size_t) p->diskType >= sizeof kinds / sizeof *kinds || !kinds[p->diskType].create_type)
    return report (VIX_E_NOT_SUPPORTED, "%s: disks of type %d cannot be created", path, (int) p->diskType);
  if (p->adapterType != VIXDISKLIB_ADAPTER_IDE && p->adapterType != VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC
      && p->adapterType != VIXDISKLIB_ADAPTER_SCSI_LSILOGIC)
    return report (VIX_E_INVALID_ARG, "%s: adapter type %d, possible are 1 (IDE), 2 (BusLogic) and 3 (LSI Logic)", path,
                   (int) p->adapterType);
  if (p->capacity == 0 || p->capacity > MAX_SECTORS)
    return report (VIX_E_INVALID_ARG, "%s: capacity of %llu sectors, possible are 1 to 2^40", path,
                   (unsigned long long) p->capacity);
  if (p->diskType == VIXDISKLIB_DISK_MONOLITHIC_SPARSE && p->capacity > SPARSE_MAX_FILE_SECTORS)
    return report (VIX_E_FILE_TOO_BIG, "%s: a monolithic sparse disk has at most 2 TiB; create a split or a flat one",
                   path);
  return VIX_OK;
}

/* Name of the index-th extent (from 0), malloc'ed. */
static char *
extent_name (const struct creation *c, const struct kind *kind, unsigned index)
{
  char *name;
  int n = kind->split ? asprintf (&name, "%s-%c%03u.vmdk", c->base, kind->sparse ? 's' : 'f', index + 1)
                      : asprintf (&name, "%s-flat.vmdk", c->base);

  return n == -1 ? NULL : name;
}

/* Makes one extent and adds its line to lines. */
static VixError
add_extent (struct creation *c, const struct kind *kind, unsigned index, uint64_t sectors, uint64_t done, FILE *lines)
{
  CLEANUP_FREE char *name = extent_name (c, kind, index);
  CLEANUP_FILE struct file *f = NULL;
  VixError r = name ? create_file (c, name, &f) : report_no_memory ();

  if (r != VIX_OK)
    return r;
  fprintf (lines, "RW %llu %s \"%s\"%s\n", (unsigned long long) sectors, kind->line_type, name,
           strcmp (kind->line_type, "FLAT") == 0 ? " 0" : "");
  r = kind->sparse ? create_sparse_extent (f, sectors, NULL, 0) : create_flat_extent (c, f, sectors, kind->thin, done);
  return r == VIX_OK ? progress_tell (c->progress, progress_share (done + sectors, c->params->capacity)) : r;
}

static VixError
add_extents (struct creation *c, const struct kind *kind, FILE *lines)
{
  const uint64_t capacity = c->params->capacity;
  uint64_t size = !kind->split ? capacity : SPLIT_SECTORS;
  VixError r = VIX_OK;

  if (capacity > size * DESCRIPTOR_MAX_EXTENTS)
    size = SPLIT_SECTORS_LARGE;
  if (capacity > size * DESCRIPTOR_MAX_EXTENTS)
    return report (VIX_E_FILE_TOO_BIG, "%s/%s: would be split into more than %u files; create a flat disk", c->dir,
                   c->name, DESCRIPTOR_MAX_EXTENTS);
  for (uint64_t done = 0; r == VIX_OK && done < capacity; done += size)
    r = add_extent (c, kind, (unsigned) (done / size), capacity - done < size ? capacity - done : size, done, lines);
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

/* The file with the descriptor, which is the whole disk if it is monolithic and sparse. */
static VixError
add_descriptor (struct creation *c, const struct kind *kind, const char *lines)
{
  CLEANUP_FREE char *name = NULL;
  CLEANUP_FREE char *text = NULL;
  CLEANUP_FILE struct file *f = NULL;
  size_t len;
  VixError r;

  text = create_descriptor (c, kind->create_type, lines, kind->thin, &len);
  if (!text || asprintf (&name, ".%s.%08x.tmp", c->name, random_cid ()) == -1)
    return report_no_memory ();
  r = create_file (c, name, &f);
  if (r == VIX_OK && kind->sparse && !kind->split)
    r = create_sparse_extent (f, c->params->capacity, text, len);
  else if (r == VIX_OK) {
    r = file_write (f, text, len, 0);
    if (r == VIX_OK)
      r = file_sync (f);
  }
  if (r == VIX_OK)
    r = progress_tell (c->progress, 100);
  if (r == VIX_OK)
    r = rename_new (c, name);
  return r == VIX_OK ? directory_sync (c->dirfd, c->dir) : r;
}

static VixError
create_files (struct creation *c, const struct kind *kind)
{
  CLEANUP_FREE char *lines = NULL;
  size_t len;
  FILE *stream = open_memstream (&lines, &len);
  VixError r = VIX_OK;

  if (!stream)
    return report_no_memory ();
  if (kind->sparse && !kind->split)
    fprintf (stream, "RW %llu SPARSE \"%s\"\n", (unsigned long long) c->params->capacity, c->name);
  else
    r = add_extents (c, kind, stream);
  if (fclose (stream) != 0 && r == VIX_OK)
    r = report_no_memory ();
  return r == VIX_OK ? add_descriptor (c, kind, lines) : r;
}

/* Folder and names. */
static VixError
prepare (struct creation *c, const char *path)
{
  struct stat st;
  VixError r = VIX_OK;
  size_t len;

  c->dirfd = open_directory_of (path, &c->dir, &c->name, &r);
  if (c->dirfd == -1)
    return r;
  r = check_plain_name (path, c->name);
  if (r != VIX_OK)
    return r;
  if (strpbrk (c->name, "\"\n\r"))
    return report (VIX_E_FILE_NAME_INVALID, "%s: a disk's name may not contain quotes or line ends", path);
  if (fstatat (c->dirfd, c->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
    return report (VIX_E_FILE_ALREADY_EXISTS, "%s: exists already", path);
  len = strlen (c->name);
  if (len > 5 && strcasecmp (c->name + len - 5, ".vmdk") == 0)
    len -= 5;
  c->base = strndup (c->name, len);
  return c->base ? VIX_OK : report_no_memory ();
}

VixError
disk_create (const char *path, const VixDiskLibCreateParams *p, bool has_sector_sizes, struct progress *progress)
{
  struct creation c = { .params = p, .has_sector_sizes = has_sector_sizes, .progress = progress, .dirfd = -1 };
  VixError r = check_params (path, p);

  if (r != VIX_OK)
    return r;
  r = prepare (&c, path);
  if (r == VIX_OK)
    r = progress_tell (progress, 0);
  if (r == VIX_OK)
    r = create_files (&c, &kinds[p->diskType]);
  creation_end (&c, r == VIX_OK);
  return r;
}
