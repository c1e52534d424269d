#define _GNU_SOURCE
#include "formats/sparse/stream.h"

#include <stdlib.h>
#include <string.h>

#include "formats/inflate.h"

#define INVALID(...) report (VIX_E_DISK_INVALIDDISK, __VA_ARGS__)
#define DAMAGED(...) report (VIX_E_DISK_NEEDSREPAIR, __VA_ARGS__)
#define ULL(n) ((unsigned long long) (n))

/* The last three sectors: marker, footer, end of stream. */
struct stream_tail {
  struct stream_marker footer_marker;
  struct sparse_header footer;
  struct stream_marker end;
};

static bool
is_marker (const struct stream_marker *m, uint32_t type, uint64_t sectors)
{
  return le64toh (m->sectors) == sectors && m->size == 0 && le32toh (m->type) == type;
}

VixError
stream_read_footer (const struct file *f, struct sparse_header *h)
{
  const uint64_t end = f->size / SECTOR_SIZE * SECTOR_SIZE;
  struct stream_tail tail;
  struct sparse_header on_disk;
  VixError r;

  if (h->gd_offset != SPARSE_GD_AT_END)
    return VIX_OK;
  if (end < sizeof tail + SECTOR_SIZE)
    return DAMAGED ("%s: has %llu bytes, too few for the footer that its header announces", f->path, ULL (f->size));
  r = file_read (f, &tail, sizeof tail, end - sizeof tail);
  if (r == VIX_OK)
    r = file_read (f, &on_disk, sizeof on_disk, 0);
  if (r != VIX_OK)
    return r;
  if (!is_marker (&tail.footer_marker, STREAM_FOOTER, 1) || !is_marker (&tail.end, STREAM_END, 0))
    return DAMAGED ("%s: byte %llu: no footer before the end; the file was cut, or its writer did not finish; repair "
                    "it to get at the grains that it has",
                    f->path, ULL (end - sizeof tail));
  h->gd_offset = le64toh (tail.footer.gd_offset);
  tail.footer.gd_offset = on_disk.gd_offset;
  if (memcmp (&tail.footer, &on_disk, offsetof (struct sparse_header, pad)) != 0)
    return INVALID ("%s: byte %llu: the footer contradicts the header", f->path, ULL (end - 2 * SECTOR_SIZE));
  if (h->gd_offset == SPARSE_GD_AT_END)
    return INVALID ("%s: byte %llu: the footer has no grain directory", f->path, ULL (end - 2 * SECTOR_SIZE));
  return sparse_check_directory (f, h);
}

/* The compressed bytes of the grain that begins at a byte of the file, malloc'ed. */
static VixError
read_packed (const struct sparse *s, uint64_t grain, uint64_t offset, uint8_t **packed, uint32_t *size)
{
  const struct file *f = s->base.file;
  struct grain_marker marker;
  VixError r = file_read (f, &marker, sizeof marker, offset);

  if (r != VIX_OK)
    return r;
  *size = le32toh (marker.size);
  if (le64toh (marker.sector) != grain << s->grain_bits)
    return DAMAGED ("%s: byte %llu: grain of sector %llu found, that of %llu expected", f->path, ULL (offset),
                    ULL (le64toh (marker.sector)), ULL (grain << s->grain_bits));
  if (*size == 0 || *size > 2 * grain_sectors (s) * SECTOR_SIZE || offset + sizeof marker + *size > f->size)
    return DAMAGED ("%s: byte %llu: grain of %u compressed bytes", f->path, ULL (offset + 8), *size);
  *packed = malloc (*size);
  return *packed ? file_read (f, *packed, *size, offset + sizeof marker) : report_no_memory ();
}

/* All of a grain.  The last one of a disk may have been packed without what lies behind the end. */
static VixError
read_grain (const struct sparse *s, uint64_t grain, uint64_t offset, uint8_t *buf)
{
  const size_t full = grain_sectors (s) * SECTOR_SIZE;
  const uint64_t left = (s->base.sectors - (grain << s->grain_bits)) * SECTOR_SIZE;
  CLEANUP_FREE uint8_t *packed = NULL;
  size_t length = full;
  uint32_t size;
  VixError r = read_packed (s, grain, offset, &packed, &size);

  if (r != VIX_OK)
    return r;
  r = inflate_exactly (packed, size, buf, &length);
  if (r != VIX_OK || length == full || length == left)
    return r == VIX_E_DISK_NEEDSREPAIR
             ? DAMAGED ("%s: byte %llu: compressed grain is damaged", s->base.file->path, ULL (offset))
             : r;
  return DAMAGED ("%s: byte %llu: grain of %zu bytes, expected %zu", s->base.file->path, ULL (offset), length, full);
}

VixError
stream_read (struct extent *e, const struct run *run, uint8_t *buf)
{
  const struct sparse *s = (struct sparse *) e;
  const uint64_t grain = run->start >> s->grain_bits, skip = run->start & (grain_sectors (s) - 1);
  CLEANUP_FREE uint8_t *whole = NULL;
  VixError r;

  if (run->count == grain_sectors (s))
    return read_grain (s, grain, run->offset, buf);
  whole = malloc (grain_sectors (s) * SECTOR_SIZE);
  r = whole ? read_grain (s, grain, run->offset, whole) : report_no_memory ();
  if (r == VIX_OK)
    memcpy (buf, whole + skip * SECTOR_SIZE, run->count * SECTOR_SIZE);
  return r;
}
