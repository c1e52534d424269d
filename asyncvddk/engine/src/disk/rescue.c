/* The descriptor of a disk whose header is damaged: it stands where every maker of disks puts it. */
#define _GNU_SOURCE
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "disk/link.h"
#include "formats/sparse/sparse.h"

#define FIRST_LINE "# Disk DescriptorFile"
#define AREA (SPARSE_DESCRIPTOR_SECTORS * SECTOR_SIZE)

/* VIX_OK with *out NULL if there is none. */
static VixError
find_descriptor (const struct file *f, struct descriptor **out)
{
  CLEANUP_FREE char *text = malloc (AREA);
  VixError r = text ? VIX_OK : report_no_memory ();

  if (r != VIX_OK || f->size < SECTOR_SIZE + AREA)
    return r;
  r = file_read (f, text, AREA, SECTOR_SIZE);
  if (r != VIX_OK || memcmp (text, FIRST_LINE, strlen (FIRST_LINE)) != 0)
    return r;
  return descriptor_parse (f->path, text, AREA, out);
}

/* True if the file is a sparse extent that had a descriptor: what is left of it is no text. */
static bool
had_descriptor (const struct file *f)
{
  struct sparse_header h;
  char first = '\0';

  return f->size >= sizeof h && file_read (f, &h, sizeof h, 0) == VIX_OK && le32toh (h.magic) == SPARSE_MAGIC
         && h.descriptor_offset != 0 && file_read (f, &first, 1, SECTOR_SIZE) == VIX_OK && first != '\0';
}

VixError
rescue_descriptor (const struct file *f, uint64_t *offset, uint64_t *size, struct descriptor **out)
{
  VixError r = read_descriptor (f, offset, size, out), found;

  if (r != VIX_E_DISK_INVALIDDISK)
    return r;
  found = find_descriptor (f, out);
  if (found == VIX_OK && *out) {
    *offset = SECTOR_SIZE;
    *size = AREA;
    return VIX_OK;
  }
  return had_descriptor (f) ? report (VIX_E_DISK_CANTREPAIR, "%s: the descriptor inside is damaged", f->path) : r;
}
