/* The header during a check.  There is one only, but everything in it follows from the extent line if the extent was
 * made with the layout that every maker of writable disks uses: a header that contradicts itself or the line is made
 * anew if both directories stand, entry by entry, where that layout has them. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "formats/sparse/check.h"

#define ULL(n) ((unsigned long long) (n))

/* True if the directory at sector is in the file and its tables follow it one behind the other. */
static bool
is_default_directory (const struct file *f, const struct sparse_header *h, uint64_t sector)
{
  const uint64_t n = (h->capacity - 1) / (SPARSE_GTES_PER_GT * SPARSE_GRAIN_SECTORS) + 1;
  const uint64_t sectors = round_up (4 * n, SECTOR_SIZE) / SECTOR_SIZE;
  CLEANUP_FREE uint32_t *entries = NULL;

  if (n > SPARSE_MAX_TABLES || h->overhead > f->size / SECTOR_SIZE)
    return false;
  entries = malloc (n * sizeof *entries);
  if (!entries || file_read (f, entries, n * sizeof *entries, sector * SECTOR_SIZE) != VIX_OK)
    return false;
  for (uint64_t i = 0; i < n; ++i)
    if (le32toh (entries[i]) != sector + sectors + i * (SPARSE_GTES_PER_GT * 4 / SECTOR_SIZE))
      return false;
  return true;
}

/* The header that the extent must have been made with; false if it was not made that way. */
static bool
find_default (const struct extent_source *source, bool descriptor, struct sparse_header *h)
{
  struct sparse_header found;

  *h = sparse_default_header (source->line->sectors, descriptor);
  sparse_swap_header (h);
  if (source->file->size < h->overhead * SECTOR_SIZE || !is_default_directory (source->file, h, h->rgd_offset)
      || !is_default_directory (source->file, h, h->gd_offset)
      || file_read (source->file, &found, sizeof found, 0) != VIX_OK)
    return false;
  sparse_swap_header (&found);
  if (found.version == 2 && (found.flags & ~SPARSE_FLAG_ZEROED_GTE) == h->flags) {
    h->version = found.version;
    h->flags = found.flags;
  }
  return true;
}

/* Compressed grains cannot be told from others without the header, and an unfinished extent has no tables yet. */
static bool
may_be_rebuilt (const struct sparse_header *found)
{
  return found->magic != SPARSE_MAGIC_UNFINISHED
         && !(found->magic == SPARSE_MAGIC
              && ((found->flags & (SPARSE_FLAG_COMPRESSED | SPARSE_FLAG_MARKERS)) || found->compress_algorithm != 0));
}

/* The header cannot be used, for a reason that was reported as r. */
static VixError
rebuild (const struct extent_source *source, VixError r, struct findings *f, struct sparse_header *h, bool *changed)
{
  struct sparse_header found = { 0 };

  if (r != VIX_E_DISK_INVALIDDISK || source->file->size < sizeof found)
    return r;
  r = file_read (source->file, &found, sizeof found, 0);
  if (r != VIX_OK)
    return r;
  sparse_swap_header (&found);
  if (may_be_rebuilt (&found)
      && (find_default (source, source->embedded, h) || (!source->embedded && find_default (source, true, h)))) {
    finding (f, FOUND_DAMAGE, "%s: the header is damaged; a repair makes it anew from the extent line",
             source->file->path);
    *changed = true;
    return VIX_OK;
  }
  if (found.magic != SPARSE_MAGIC && found.magic != SPARSE_MAGIC_UNFINISHED && !source->embedded)
    return VIX_E_DISK_INVALIDDISK;
  finding (f, FOUND_LOSS, "%s: the header is damaged, and the tables do not stand where it could be made anew from",
           source->file->path);
  return VIX_E_DISK_CANTREPAIR;
}

/* A capacity that is larger than the extent line is what an interrupted growth leaves: the disk is still what its
 * descriptor says. */
static VixError
check_capacity (const struct extent_source *source, struct findings *f, struct sparse_header *h, bool *changed)
{
  const uint64_t sectors = source->line->sectors;

  if (h->capacity < sectors)
    return report (VIX_E_DISK_INVALIDDISK,
                   "%s: byte 12: capacity of %llu sectors, less than the %llu of the extent line", source->file->path,
                   ULL (h->capacity), ULL (sectors));
  if (h->capacity - sectors < h->grain_size)
    return VIX_OK;
  finding (f, FOUND_DAMAGE,
           "%s: byte 12: capacity of %llu sectors, more than the %llu of the extent line, as if to grow the disk; a "
           "repair makes it %llu",
           source->file->path, ULL (h->capacity), ULL (sectors), ULL (sectors));
  h->capacity = sectors;
  *changed = true;
  return VIX_OK;
}

/* A directory that cannot be where the header has it is lost; its offset becomes 0. */
static void
check_places (const struct file *f, struct sparse_header *h)
{
  const uint64_t n = (h->capacity - 1) / (h->num_gtes_per_gt * h->grain_size) + 1;
  const uint64_t sectors = round_up (4 * n, SECTOR_SIZE) / SECTOR_SIZE;

  if (!sparse_directory_fits (f, h, h->gd_offset))
    h->gd_offset = 0;
  if (!(h->flags & SPARSE_FLAG_REDUNDANT) || !sparse_directory_fits (f, h, h->rgd_offset)
      || (h->gd_offset < h->rgd_offset + sectors && h->rgd_offset < h->gd_offset + sectors))
    h->rgd_offset = 0;
}

VixError
check_header (const struct extent_source *source, struct findings *f, struct sparse_header *h, bool *changed)
{
  struct sparse_header rebuilt;
  VixError r = sparse_read_fields (source->file, h);

  *changed = false;
  if (r == VIX_OK && (h->flags & SPARSE_FLAG_COMPRESSED))
    return VIX_OK;
  if (r == VIX_OK)
    r = check_capacity (source, f, h, changed);
  if (r != VIX_OK)
    return rebuild (source, r, f, h, changed);
  check_places (source->file, h);
  if (h->gd_offset && (h->rgd_offset || !(h->flags & SPARSE_FLAG_REDUNDANT)))
    return VIX_OK;
  if (find_default (source, h->descriptor_offset != 0, &rebuilt) && rebuilt.descriptor_offset == h->descriptor_offset) {
    finding (f, FOUND_DAMAGE, "%s: byte %d: the header misses a grain directory at sector %llu; a repair corrects it",
             source->file->path, h->gd_offset ? 48 : 56, ULL (h->gd_offset ? rebuilt.rgd_offset : rebuilt.gd_offset));
    *h = rebuilt;
    *changed = true;
    return VIX_OK;
  }
  if (h->gd_offset || h->rgd_offset)
    return VIX_OK; /* the other one is made from it */
  finding (f, FOUND_LOSS, "%s: both grain directories are lost", source->file->path);
  return VIX_E_DISK_CANTREPAIR;
}
