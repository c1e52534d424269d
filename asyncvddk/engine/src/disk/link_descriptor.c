/* Where descriptors are kept: in a text file of their own, or inside a sparse extent. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/link.h"
#include "base/log.h"
#include "formats/sparse/sparse.h"

static VixError
read_and_parse (const struct file *f, uint64_t offset, uint64_t size, struct descriptor **out)
{
  CLEANUP_FREE char *text = malloc (size ? size : 1);
  VixError r = text ? file_read (f, text, size, offset) : report_no_memory ();

  return r == VIX_OK ? descriptor_parse (f->path, text, size, out) : r;
}

static VixError
read_embedded (const struct file *f, uint64_t *offset, uint64_t *size, struct descriptor **out)
{
  struct sparse_header h;
  char first = '\0';
  VixError r = sparse_read_header (f, &h);

  if (r == VIX_OK && h.descriptor_offset)
    r = file_read (f, &first, 1, h.descriptor_offset * SECTOR_SIZE);
  if (r != VIX_OK)
    return r;
  if (first == '\0')
    return report (VIX_E_DISK_INVALIDDISK, "%s: is an extent without a descriptor; open the .vmdk file that lists it",
                   f->path);
  *offset = h.descriptor_offset * SECTOR_SIZE;
  *size = h.descriptor_size * SECTOR_SIZE;
  return read_and_parse (f, *offset, *size, out);
}

VixError
read_descriptor (const struct file *f, uint64_t *offset, uint64_t *size, struct descriptor **out)
{
  uint32_t magic = 0;
  VixError r = f->size < sizeof magic ? VIX_OK : file_read (f, &magic, sizeof magic, 0);

  *offset = *size = 0;
  *out = NULL;
  if (r != VIX_OK)
    return r;
  if (le32toh (magic) == SPARSE_MAGIC || le32toh (magic) == SPARSE_MAGIC_UNFINISHED)
    return read_embedded (f, offset, size, out);
  if (f->size == 0)
    return report (VIX_E_DISK_INVALIDDISK, "%s: is empty", f->path);
  if (f->size > DESCRIPTOR_MAX_BYTES)
    return report (VIX_E_DISK_INVALIDDISK,
                   "%s: is no virtual disk: neither a sparse extent nor a descriptor, which has at most %u bytes; "
                   "if this is an extent, open the .vmdk file that lists it",
                   f->path, DESCRIPTOR_MAX_BYTES);
  return read_and_parse (f, 0, f->size, out);
}

/* The whole area with one write, padded with zeros. */
VixError
store_embedded_descriptor (const struct file *f, uint64_t offset, uint64_t size, const char *text, size_t len)
{
  CLEANUP_FREE char *area = calloc (1, size);
  VixError r;

  if (!area)
    return report_no_memory ();
  if (len > size)
    return report (VIX_E_ARGUMENT_TOO_BIG, "%s: the descriptor would have %zu bytes, the file has room for %llu",
                   f->path, len, (unsigned long long) size);
  memcpy (area, text, len);
  r = file_write (f, area, size, offset);
  return r == VIX_OK ? file_sync (f) : r;
}

/* The replacement gets owner and permissions of the file it replaces, as far as the system lets us. */
static void
copy_permissions (const struct link *l, const struct file *new)
{
  struct stat st;

  if (fstatat (l->dirfd, l->name, &st, 0) == -1)
    return;
  if (fchown (new->fd, st.st_uid, st.st_gid) == -1 || fchmod (new->fd, st.st_mode & 07777) == -1)
    engine_warn ("%s: owner or permissions could not be kept: %m", l->path);
}

/* A new file under a name of its own, complete and on disk before it takes the old one's place.  A leftover of a writer
 * that died is removed: who holds the disk's lock is the only one to use that name. */
static VixError
store_text (struct link *l, const char *text, size_t len)
{
  CLEANUP_FREE char *name = NULL;
  CLEANUP_FILE struct file *f = NULL;
  VixError r;

  if (asprintf (&name, ".%s.tmp", l->name) == -1)
    return report_no_memory ();
  unlinkat (l->dirfd, name, 0);
  r = file_create_at (l->dirfd, l->dir, name, 0600, &f);
  if (r != VIX_OK)
    return r;
  copy_permissions (l, f);
  r = file_write (f, text, len, 0);
  if (r == VIX_OK)
    r = file_sync (f);
  if (r == VIX_OK && renameat (l->dirfd, name, l->dirfd, l->name) == -1)
    r = report_errno (errno, l->path, "replace");
  if (r != VIX_OK) {
    unlinkat (l->dirfd, name, 0);
    return r;
  }
  l->ino = f->ino;
  return directory_sync (l->dirfd, l->dir);
}

VixError
link_store_descriptor (struct link *l)
{
  size_t len;
  CLEANUP_FREE char *text = descriptor_text (l->descriptor, &len);

  if (!text)
    return report_no_memory ();
  return l->embedded_size ? store_embedded_descriptor (l->extents[0]->file, l->embedded_offset, l->embedded_size, text, len)
                          : store_text (l, text, len);
}
