/* A hosted sparse extent gets larger.  Where the tables cover the new size already, only the header changes.  Else both
 * directories are written anew behind the end of the file, with the old tables and new, empty ones in them; then one
 * write of the header's sector leads to them.  What the old directories took is free then, but nobody uses it.
 *
 * While the header says more than the extent line, it also says that its writer is at work: opening takes the line's
 * word for it then (open.c), and without that mark refuses. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/sparse/sparse.h"

struct new_layout {
  uint32_t tables, added;     /* grain tables in all, new ones */
  uint64_t directory_sectors;
  uint64_t rgd, gd, end;      /* sectors; end of the file */
};

static struct new_layout
plan (const struct sparse *s, uint64_t sectors)
{
  struct new_layout l = { .rgd = atomic_load (&s->end) };
  uint64_t new_tables;

  l.tables = (uint32_t) ((sectors - 1) >> (s->grain_bits + s->table_bits)) + 1;
  l.added = l.tables - s->n_tables;
  l.directory_sectors = round_up (4ull * l.tables, SECTOR_SIZE) / SECTOR_SIZE;
  new_tables = (uint64_t) l.added * s->table_sectors;
  l.gd = s->redundant ? l.rgd + l.directory_sectors + new_tables : l.rgd;
  l.end = round_up (l.gd + l.directory_sectors + new_tables, grain_sectors (s));
  return l;
}

static VixError
check_limits (const struct sparse *s, uint64_t sectors)
{
  const struct new_layout l = plan (s, sectors);

  if (sectors > SPARSE_MAX_FILE_SECTORS || l.tables > SPARSE_MAX_TABLES || l.tables < s->n_tables
      || (l.added > 0 && l.end > SPARSE_MAX_FILE_SECTORS))
    return report (VIX_E_FILE_TOO_BIG, "%s: cannot grow to %llu sectors: a sparse file has at most 2 TiB",
                   s->base.file->path, (unsigned long long) sectors);
  return VIX_OK;
}

/* What lies behind the end in the last grain table of a directory would become content. */
static VixError
check_past_end (const struct sparse *s, const uint32_t *directory, uint32_t *last_grain)
{
  const uint32_t index = s->n_tables - 1;
  const uint64_t grains = (s->base.sectors + grain_sectors (s) - 1) >> s->grain_bits;
  const uint32_t used = (uint32_t) (grains - ((uint64_t) index << s->table_bits));
  CLEANUP_FREE uint32_t *entries = calloc (1, s->table_bytes);
  VixError r = entries ? VIX_OK : report_no_memory ();

  if (r == VIX_OK && directory[index] != 0)
    r = file_read (s->base.file, entries, s->table_bytes, le32toh (directory[index]) * SECTOR_SIZE);
  for (uint32_t i = used; r == VIX_OK && i < table_entries (s); ++i)
    if (entries[i] != 0)
      r = report (VIX_E_DISK_NEEDSREPAIR, "%s: grain table %u, entry %u: is behind the end of the disk but not empty; "
                  "repair the disk before it grows", s->base.file->path, index, i);
  if (r == VIX_OK)
    *last_grain = le32toh (entries[used - 1]);
  return r;
}

/* Opening has not looked at the tables of a very large disk. */
static VixError
check_last_table (const struct sparse *s, uint32_t *last_grain)
{
  uint32_t copy;
  VixError r = check_past_end (s, s->gd, last_grain);

  copy = *last_grain;
  if (r == VIX_OK && s->redundant)
    r = check_past_end (s, s->rgd, &copy);
  if (r == VIX_OK
      && (copy != *last_grain
          || (copy > (s->zeroed_grains ? SPARSE_GTE_ZEROED : 0)
              && (copy < s->first_grain || copy >= atomic_load (&s->end)))))
    r = report (VIX_E_DISK_NEEDSREPAIR,
                "%s: the last grain is at sector %u, says its table, and at %u, says the copy; neither is to be trusted; "
                "repair the disk before it grows", s->base.file->path, *last_grain, copy);
  return r;
}

/* A last grain that the disk used in part only: zeros in the rest of it. */
static VixError
clear_tail (const struct sparse *s, uint32_t grain)
{
  const uint64_t used = s->base.sectors & (grain_sectors (s) - 1);
  const size_t bytes = (grain_sectors (s) - used) * SECTOR_SIZE;
  CLEANUP_FREE uint8_t *zeros = calloc (1, bytes);

  if (used == 0 || grain == 0 || (grain == SPARSE_GTE_ZEROED && s->zeroed_grains))
    return VIX_OK;
  return zeros ? file_write (s->base.file, zeros, bytes, (grain + used) * SECTOR_SIZE) : report_no_memory ();
}

/* The old entries, then those of the tables that follow the directory. */
static VixError
write_directory (const struct sparse *s, const struct new_layout *l, const uint32_t *old, uint64_t sector)
{
  CLEANUP_FREE uint32_t *entries = calloc (l->directory_sectors, SECTOR_SIZE);

  if (!entries)
    return report_no_memory ();
  memcpy (entries, old, s->n_tables * sizeof *entries);
  for (uint32_t i = 0; i < l->added; ++i)
    entries[s->n_tables + i] = htole32 ((uint32_t) (sector + l->directory_sectors + (uint64_t) i * s->table_sectors));
  return file_write (s->base.file, entries, l->directory_sectors * SECTOR_SIZE, sector * SECTOR_SIZE);
}

/* The file ends behind the new tables, which are zeros. */
static VixError
add_tables (const struct sparse *s, const struct new_layout *l)
{
  VixError r = VIX_OK;

  if (ftruncate (s->base.file->fd, (off_t) (l->end * SECTOR_SIZE)) == -1)
    return report_errno (errno, s->base.file->path, "set the size");
  if (s->redundant)
    r = write_directory (s, l, s->rgd, l->rgd);
  return r == VIX_OK ? write_directory (s, l, s->gd, l->gd) : r;
}

static VixError
switch_header (struct sparse *s, const struct new_layout *l, uint64_t sectors)
{
  struct sparse_header h;
  VixError r = file_read (s->base.file, &h, sizeof h, 0);

  h.capacity = htole64 (sectors);
  h.unclean_shutdown = 1;
  if (l->added > 0) {
    h.gd_offset = htole64 (l->gd);
    h.rgd_offset = s->redundant ? htole64 (l->rgd) : h.rgd_offset;
  }
  s->unclean = true; /* closing takes the mark away */
  if (r == VIX_OK)
    r = file_write (s->base.file, &h, sizeof h, 0);
  return r == VIX_OK ? file_sync (s->base.file) : r;
}

VixError
sparse_grow (struct extent *e, uint64_t sectors)
{
  struct sparse *s = (struct sparse *) e;
  struct new_layout l;
  uint32_t last_grain = 0;
  VixError r = check_limits (s, sectors);

  if (r == VIX_OK)
    r = check_last_table (s, &last_grain);
  if (r != VIX_OK)
    return r;
  l = plan (s, sectors);
  r = clear_tail (s, last_grain);
  if (r == VIX_OK && l.added > 0)
    r = add_tables (s, &l);
  if (r == VIX_OK)
    r = file_sync (s->base.file);
  return r == VIX_OK ? switch_header (s, &l, sectors) : r;
}

VixError
sparse_check_growth (const struct extent *e, uint64_t sectors)
{
  return check_limits ((const struct sparse *) e, sectors);
}

void
sparse_stay_unclean (struct extent *e)
{
  struct sparse *s = (struct sparse *) e;

  s->unclean = s->found_unclean = false;
}
