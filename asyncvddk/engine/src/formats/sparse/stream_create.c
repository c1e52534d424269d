/* A new streamOptimized extent, and the end of one that has been written. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/sparse/stream.h"

/* Sectors before the first grain: header, descriptor, and room to the next grain, as VMware leaves it. */
#define OVERHEAD 128u

struct stream_marker
stream_make_marker (enum stream_marker_type type, uint64_t sectors)
{
  return (struct stream_marker){ .sectors = htole64 (sectors), .type = htole32 (type) };
}

/* The footer is the header with the directory's place. */
static VixError
write_footer (const struct file *f, uint64_t directory, uint64_t sector)
{
  struct {
    struct stream_marker marker;
    struct sparse_header footer;
    struct stream_marker end;
  } tail = { .marker = stream_make_marker (STREAM_FOOTER, 1), .end = stream_make_marker (STREAM_END, 0) };
  VixError r = file_read (f, &tail.footer, sizeof tail.footer, 0);

  tail.footer.gd_offset = htole64 (directory);
  if (r == VIX_OK)
    r = file_write (f, &tail, sizeof tail, sector * SECTOR_SIZE);
  return r == VIX_OK ? file_sync (f) : r;
}

/* The footer makes the file a disk: all that it speaks of is on storage before. */
VixError
stream_write_end (const struct file *f, const uint32_t *directory, uint32_t n_tables, uint64_t sector)
{
  const uint64_t sectors = round_up (4ull * n_tables, SECTOR_SIZE) / SECTOR_SIZE, end = sector + 1 + sectors;
  const struct stream_marker marker = stream_make_marker (STREAM_DIRECTORY, sectors);
  CLEANUP_FREE uint8_t *area = calloc (sectors, SECTOR_SIZE);
  struct iovec iov[] = { { (void *) &marker, sizeof marker }, { area, sectors * SECTOR_SIZE } };
  VixError r;

  if (!area)
    return report_no_memory ();
  memcpy (area, directory, 4ull * n_tables);
  r = file_writev (f, iov, 2, sector * SECTOR_SIZE);
  if (r == VIX_OK && ftruncate (f->fd, (off_t) (end * SECTOR_SIZE)) == -1)
    r = report_errno (errno, f->path, "set the size");
  if (r == VIX_OK)
    r = file_sync (f);
  return r == VIX_OK ? write_footer (f, sector + 1, end) : r;
}

static struct sparse_header
make_header (uint64_t sectors)
{
  struct sparse_header h = {
    .magic = htole32 (SPARSE_MAGIC),
    .version = htole32 (3),
    .flags = htole32 (SPARSE_FLAG_NEWLINES | SPARSE_FLAG_COMPRESSED | SPARSE_FLAG_MARKERS),
    .capacity = htole64 (sectors),
    .grain_size = htole64 (SPARSE_GRAIN_SECTORS),
    .descriptor_offset = htole64 (1),
    .descriptor_size = htole64 (SPARSE_DESCRIPTOR_SECTORS),
    .num_gtes_per_gt = htole32 (SPARSE_GTES_PER_GT),
    .gd_offset = htole64 (SPARSE_GD_AT_END),
    .overhead = htole64 (OVERHEAD),
    .compress_algorithm = htole16 (1),
  };

  memcpy (h.newlines, SPARSE_NEWLINES, sizeof h.newlines);
  return h;
}

VixError
create_stream_extent (const struct file *f, uint64_t sectors, const char *descriptor, size_t descriptor_len)
{
  const struct sparse_header h = make_header (sectors);
  const uint32_t n_tables = (uint32_t) ((sectors - 1) / (SPARSE_GRAIN_SECTORS * SPARSE_GTES_PER_GT)) + 1;
  CLEANUP_FREE uint32_t *directory = calloc (n_tables, sizeof *directory);
  VixError r;

  if (!directory)
    return report_no_memory ();
  if (descriptor_len > SPARSE_DESCRIPTOR_SECTORS * SECTOR_SIZE)
    return report (VIX_E_ARGUMENT_TOO_BIG, "%s: descriptor of %zu bytes, the file has room for %llu", f->path,
                   descriptor_len, SPARSE_DESCRIPTOR_SECTORS * SECTOR_SIZE);
  r = file_write (f, &h, sizeof h, 0);
  if (r == VIX_OK)
    r = file_write (f, descriptor, descriptor_len, SECTOR_SIZE);
  return r == VIX_OK ? stream_write_end (f, directory, n_tables, OVERHEAD) : r;
}
