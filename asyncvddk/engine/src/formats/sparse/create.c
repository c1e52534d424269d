/* A new hosted sparse extent: header, descriptor, both directories, empty tables. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/sparse/sparse.h"

/* Where everything goes, in sectors. */
struct layout {
  uint64_t tables, table_sectors, directory_sectors;
  uint64_t rgd, gd, first_grain;
};

static struct layout
plan_layout (uint64_t sectors, bool descriptor)
{
  const uint64_t coverage = (uint64_t) SPARSE_GRAIN_SECTORS * SPARSE_GTES_PER_GT;
  struct layout l = { .tables = (sectors + coverage - 1) / coverage,
                      .table_sectors = SPARSE_GTES_PER_GT * 4 / SECTOR_SIZE };

  l.directory_sectors = round_up (4 * l.tables, SECTOR_SIZE) / SECTOR_SIZE;
  l.rgd = 1 + (descriptor ? SPARSE_DESCRIPTOR_SECTORS : 0);
  l.gd = l.rgd + l.directory_sectors + l.tables * l.table_sectors;
  l.first_grain = round_up (l.gd + l.directory_sectors + l.tables * l.table_sectors, SPARSE_GRAIN_SECTORS);
  return l;
}

uint64_t
sparse_empty_sectors (uint64_t sectors, bool descriptor)
{
  return plan_layout (sectors, descriptor).first_grain;
}

static struct sparse_header
make_header (const struct layout *l, uint64_t sectors, bool descriptor)
{
  struct sparse_header h = {
    .magic = htole32 (SPARSE_MAGIC),
    .version = htole32 (1),
    .flags = htole32 (SPARSE_FLAG_NEWLINES | SPARSE_FLAG_REDUNDANT),
    .capacity = htole64 (sectors),
    .grain_size = htole64 (SPARSE_GRAIN_SECTORS),
    .descriptor_offset = htole64 (descriptor ? 1 : 0),
    .descriptor_size = htole64 (descriptor ? SPARSE_DESCRIPTOR_SECTORS : 0),
    .num_gtes_per_gt = htole32 (SPARSE_GTES_PER_GT),
    .rgd_offset = htole64 (l->rgd),
    .gd_offset = htole64 (l->gd),
    .overhead = htole64 (l->first_grain),
  };

  memcpy (h.newlines, SPARSE_NEWLINES, sizeof h.newlines);
  return h;
}

/* A directory whose tables follow it. */
static VixError
write_directory (const struct file *f, const struct layout *l, uint64_t sector)
{
  CLEANUP_FREE uint32_t *entries = calloc (l->directory_sectors, SECTOR_SIZE);

  if (!entries)
    return report_no_memory ();
  for (uint64_t i = 0; i < l->tables; ++i)
    entries[i] = htole32 ((uint32_t) (sector + l->directory_sectors + i * l->table_sectors));
  return file_write (f, entries, l->directory_sectors * SECTOR_SIZE, sector * SECTOR_SIZE);
}

VixError
create_sparse_extent (const struct file *f, uint64_t sectors, const char *descriptor, size_t descriptor_len)
{
  const struct layout l = plan_layout (sectors, descriptor != NULL);
  const struct sparse_header h = make_header (&l, sectors, descriptor != NULL);
  VixError r;

  if (descriptor_len > SPARSE_DESCRIPTOR_SECTORS * SECTOR_SIZE)
    return report (VIX_E_ARGUMENT_TOO_BIG, "%s: descriptor of %zu bytes, the file has room for %llu", f->path,
                   descriptor_len, SPARSE_DESCRIPTOR_SECTORS * SECTOR_SIZE);
  if (ftruncate (f->fd, (off_t) (l.first_grain * SECTOR_SIZE)) == -1)
    return report_errno (errno, f->path, "set the size");
  r = write_directory (f, &l, l.rgd);
  if (r == VIX_OK)
    r = write_directory (f, &l, l.gd);
  if (r == VIX_OK && descriptor)
    r = file_write (f, descriptor, descriptor_len, SECTOR_SIZE);
  if (r == VIX_OK)
    r = file_write (f, &h, sizeof h, 0);
  return r == VIX_OK ? file_sync (f) : r;
}
