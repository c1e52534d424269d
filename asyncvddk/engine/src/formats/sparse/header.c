/* The header of a hosted sparse extent: every field judged before it is used. */
#define _GNU_SOURCE
#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "formats/sparse/sparse.h"

#define INVALID(...) report (VIX_E_DISK_INVALIDDISK, __VA_ARGS__)
#define ULL(n) ((unsigned long long) (n))

void
sparse_swap_header (struct sparse_header *h)
{
  h->magic = le32toh (h->magic);
  h->version = le32toh (h->version);
  h->flags = le32toh (h->flags);
  h->capacity = le64toh (h->capacity);
  h->grain_size = le64toh (h->grain_size);
  h->descriptor_offset = le64toh (h->descriptor_offset);
  h->descriptor_size = le64toh (h->descriptor_size);
  h->num_gtes_per_gt = le32toh (h->num_gtes_per_gt);
  h->rgd_offset = le64toh (h->rgd_offset);
  h->gd_offset = le64toh (h->gd_offset);
  h->overhead = le64toh (h->overhead);
  h->compress_algorithm = le16toh (h->compress_algorithm);
}

static VixError
check_identity (const char *path, const struct sparse_header *h)
{
  if (h->magic == SPARSE_MAGIC_UNFINISHED)
    return INVALID ("%s: byte 0: \"kdmv\" marks a disk whose writer did not finish", path);
  if (h->magic != SPARSE_MAGIC)
    return INVALID ("%s: byte 0: no hosted sparse extent (\"KDMV\" expected)", path);
  if (h->version == 0 || h->version > 3)
    return report (h->version ? VIX_E_DISK_UNSUPPORTEDDISKVERSION : VIX_E_DISK_INVALIDDISK,
                   "%s: byte 4: version %u, known are 1 to 3", path, h->version);
  if (h->flags & SPARSE_FLAGS_INCOMPATIBLE & ~(SPARSE_FLAG_COMPRESSED | SPARSE_FLAG_MARKERS))
    return report (VIX_E_DISK_UNSUPPORTEDDISKVERSION, "%s: byte 8: flags 0x%x ask for features that are not known",
                   path, h->flags);
  if ((h->flags & SPARSE_FLAG_NEWLINES) && memcmp (h->newlines, SPARSE_NEWLINES, 4) != 0)
    return INVALID (
        "%s: byte 73: line ends were altered, as a transfer in text mode does; copy the file again in binary mode",
        path);
  return VIX_OK;
}

static VixError
check_compression (const char *path, const struct sparse_header *h)
{
  bool flag = h->flags & SPARSE_FLAG_COMPRESSED;

  if (h->compress_algorithm > 1)
    return INVALID ("%s: byte 77: compression %u, known are 0 (none) and 1 (deflate)", path, h->compress_algorithm);
  if (flag != (h->compress_algorithm == 1) || (!flag && (h->flags & SPARSE_FLAG_MARKERS)))
    return INVALID ("%s: byte 8: flags 0x%x contradict compression %u at byte 77", path, h->flags,
                    h->compress_algorithm);
  return VIX_OK;
}

static bool
power_of_two_within (uint64_t n, uint64_t min, uint64_t max)
{
  return n >= min && n <= max && (n & (n - 1)) == 0;
}

static VixError
check_sizes (const char *path, const struct sparse_header *h)
{
  if (h->capacity == 0 || h->capacity > MAX_SECTORS)
    return INVALID ("%s: byte 12: capacity of %llu sectors, possible are 1 to 2^40", path, ULL (h->capacity));
  if (!power_of_two_within (h->grain_size, 8, 2048))
    return INVALID ("%s: byte 20: grain size of %llu sectors, possible are powers of two from 8 to 2048", path,
                    ULL (h->grain_size));
  if (!power_of_two_within (h->num_gtes_per_gt, 128, 4096))
    return INVALID ("%s: byte 44: %u entries in a grain table, possible are powers of two from 128 to 4096", path,
                    h->num_gtes_per_gt);
  if ((h->capacity - 1) / (h->num_gtes_per_gt * h->grain_size) >= SPARSE_MAX_TABLES)
    return INVALID ("%s: byte 12: capacity of %llu sectors needs more than 2^21 grain tables", path, ULL (h->capacity));
  return VIX_OK;
}

/* True if [start, start+count) lies inside the first limit sectors; the sum cannot wrap. */
static bool
in_range (uint64_t limit, uint64_t start, uint64_t count)
{
  return count <= limit && start <= limit - count;
}

static bool
overlaps (uint64_t a, uint64_t a_count, uint64_t b, uint64_t b_count)
{
  return a < b + b_count && b < a + a_count;
}

static VixError
check_directory (const struct file *f, const struct sparse_header *h, uint64_t offset, int byte, const char *name)
{
  const uint64_t tables = (h->capacity - 1) / (h->num_gtes_per_gt * h->grain_size) + 1;
  const uint64_t sectors = round_up (4 * tables, SECTOR_SIZE) / SECTOR_SIZE;

  if (offset == 0 || !in_range (f->size / SECTOR_SIZE, offset, sectors))
    return INVALID ("%s: byte %d: %s at sector %llu does not lie inside the file", f->path, byte, name, ULL (offset));
  if (h->descriptor_offset && overlaps (offset, sectors, h->descriptor_offset, h->descriptor_size))
    return INVALID ("%s: byte %d: %s at sector %llu overlaps the descriptor", f->path, byte, name, ULL (offset));
  return VIX_OK;
}

bool
sparse_directory_fits (const struct file *f, const struct sparse_header *h, uint64_t offset)
{
  const uint64_t tables = (h->capacity - 1) / (h->num_gtes_per_gt * h->grain_size) + 1;
  const uint64_t sectors = round_up (4 * tables, SECTOR_SIZE) / SECTOR_SIZE;

  return offset != 0 && in_range (f->size / SECTOR_SIZE, offset, sectors)
         && !(h->descriptor_offset && overlaps (offset, sectors, h->descriptor_offset, h->descriptor_size));
}

VixError
sparse_check_directory (const struct file *f, const struct sparse_header *h)
{
  return check_directory (f, h, h->gd_offset, 56, "grain directory");
}

static VixError
check_directories (const struct file *f, const struct sparse_header *h)
{
  const uint64_t tables = (h->capacity - 1) / (h->num_gtes_per_gt * h->grain_size) + 1;
  const uint64_t sectors = round_up (4 * tables, SECTOR_SIZE) / SECTOR_SIZE;
  VixError r = sparse_check_directory (f, h);

  if (r != VIX_OK || !(h->flags & SPARSE_FLAG_REDUNDANT))
    return r;
  r = check_directory (f, h, h->rgd_offset, 48, "redundant grain directory");
  if (r == VIX_OK && overlaps (h->gd_offset, sectors, h->rgd_offset, sectors))
    r = INVALID ("%s: byte 48: redundant grain directory at sector %llu overlaps the grain directory", f->path,
                 ULL (h->rgd_offset));
  return f->writable ? r : VIX_OK; /* readers do without it */
}

static VixError
check_places (const struct file *f, const struct sparse_header *h)
{
  const uint64_t file_sectors = f->size / SECTOR_SIZE;

  if (h->descriptor_offset
      && (h->descriptor_size == 0 || h->descriptor_size > 2 * DESCRIPTOR_MAX_BYTES / SECTOR_SIZE
          || !in_range (file_sectors, h->descriptor_offset, h->descriptor_size)))
    return INVALID (
        "%s: byte 28: descriptor of %llu sectors at sector %llu, expected at most 4096 sectors inside the file",
        f->path, ULL (h->descriptor_size), ULL (h->descriptor_offset));
  if (h->overhead > file_sectors)
    return INVALID ("%s: byte 64: first grain at sector %llu, behind the end of the file", f->path, ULL (h->overhead));
  return VIX_OK;
}

static VixError
check_directory_places (const struct file *f, const struct sparse_header *h)
{
  if (h->gd_offset == SPARSE_GD_AT_END)
    return h->flags & SPARSE_FLAG_MARKERS
             ? VIX_OK
             : INVALID ("%s: byte 56: grain directory at the end of the file, which only compressed extents have",
                        f->path);
  return check_directories (f, h);
}

VixError
sparse_read_fields (const struct file *f, struct sparse_header *h)
{
  VixError r;

  if (f->size < sizeof *h)
    return INVALID ("%s: has %llu bytes, a sparse extent begins with a header of 512", f->path, ULL (f->size));
  r = file_read (f, h, sizeof *h, 0);
  if (r == VIX_OK) {
    sparse_swap_header (h);
    r = check_identity (f->path, h);
  }
  if (r == VIX_OK)
    r = check_compression (f->path, h);
  if (r == VIX_OK)
    r = check_sizes (f->path, h);
  if (r == VIX_OK)
    r = check_places (f, h);
  return r;
}

VixError
sparse_read_header (const struct file *f, struct sparse_header *h)
{
  VixError r = sparse_read_fields (f, h);

  return r == VIX_OK ? check_directory_places (f, h) : r;
}

VixError
sparse_check_header (const struct file *f, struct sparse_header *h, uint64_t line_sectors, bool *interrupted)
{
  const bool larger = h->capacity >= line_sectors && h->capacity - line_sectors >= h->grain_size;

  *interrupted = larger && h->unclean_shutdown && !(h->flags & SPARSE_FLAG_COMPRESSED);
  if (h->capacity < line_sectors || (larger && !*interrupted))
    return INVALID ("%s: byte 12: capacity of %llu sectors contradicts the %llu of the extent line", f->path,
                    ULL (h->capacity), ULL (line_sectors));
  if (*interrupted)
    h->capacity = line_sectors;
  return VIX_OK;
}
