/* The check of a finished streamOptimized extent: footer, directory, tables, and the 12 bytes in front of each grain.
 * The grains are not unpacked: that is a matter of reading the disk, which notices every damage to them. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "formats/sparse/check.h"
#include "formats/sparse/stream.h"

#define ULL(n) ((unsigned long long) (n))

/* In front of the bytes of a grain. */
struct grain_head {
  uint64_t sector; /* of the disk */
  uint32_t size;
} __attribute__ ((packed));

struct stream_walk {
  struct sparse *s;
  struct findings *findings;
};

static VixError
check_grain (const struct stream_walk *w, uint64_t grain, uint32_t sector)
{
  const struct file *f = w->s->base.file;
  const uint64_t start = grain << w->s->grain_bits, offset = sector * SECTOR_SIZE;
  struct grain_head head = { 0 };
  uint32_t size;
  VixError r = VIX_OK;

  if (sector >= w->s->first_grain && offset + sizeof head <= f->size)
    r = file_read (f, &head, sizeof head, offset);
  size = le32toh (head.size);
  if (r == VIX_OK
      && (le64toh (head.sector) != start || size == 0 || size > 2 * grain_sectors (w->s) * SECTOR_SIZE
          || offset + sizeof head + size > f->size))
    finding (w->findings, FOUND_LOSS,
             "%s: byte %llu: the compressed grain of sectors %llu to %llu of the disk is not there", f->path,
             ULL (offset), ULL (start), ULL (start + grain_sectors (w->s) - 1));
  return r;
}

/* table_function. */
static VixError
check_tables (void *opaque, uint32_t first, uint32_t n, const uint32_t *entries)
{
  const struct stream_walk *w = opaque;
  const uint64_t grain = (uint64_t) first << w->s->table_bits, count = (uint64_t) n << w->s->table_bits;
  VixError r = VIX_OK;

  for (uint64_t i = 0; entries && r == VIX_OK && i < count; ++i) {
    const uint32_t entry = le32toh (entries[i]);

    if (entry != 0 && !(entry == SPARSE_GTE_ZEROED && w->s->zeroed_grains)
        && (grain + i) << w->s->grain_bits < w->s->base.sectors)
      r = check_grain (w, grain + i, entry);
  }
  return r;
}

static bool
in_file (const struct sparse *s, uint32_t i)
{
  const uint64_t sector = le32toh (s->gd[i]);

  return sector == 0
         || (sector >= s->descriptor_end && sector + s->table_sectors <= s->base.file->size / SECTOR_SIZE);
}

/* Tables that lie in the file; true if no directory of a hostile file makes us read them again and again. */
static bool
check_directory (const struct stream_walk *w)
{
  const struct sparse *s = w->s;
  uint64_t sectors = 0;

  for (uint32_t i = 0; i < s->n_tables; ++i) {
    if (!in_file (s, i)) {
      finding (w->findings, FOUND_LOSS, "%s: grain directory, entry %u: no grain table at sector %u",
               s->base.file->path, i, le32toh (s->gd[i]));
      return false;
    }
    sectors += s->gd[i] ? s->table_sectors : 0;
  }
  if (sectors <= s->base.file->size / SECTOR_SIZE)
    return true;
  finding (w->findings, FOUND_LOSS, "%s: entries of the grain directory lead to the same tables", s->base.file->path);
  return false;
}

static VixError
walk (const struct stream_walk *w)
{
  struct sparse *s = w->s;
  VixError r;

  s->gd = malloc (s->n_tables * sizeof *s->gd);
  r = s->gd ? file_read (s->base.file, s->gd, s->n_tables * sizeof *s->gd, s->gd_offset * SECTOR_SIZE)
            : report_no_memory ();
  return r == VIX_OK && check_directory (w) ? walk_tables (s, s->gd, 0, s->n_tables, check_tables, (void *) w) : r;
}

VixError
check_stream (const struct extent_source *source, struct sparse_header *h, struct findings *f)
{
  struct stream_walk w = { .findings = f };
  bool interrupted;
  VixError r = sparse_check_header (source->file, h, source->line->sectors, &interrupted);

  if (r == VIX_OK && h->gd_offset == SPARSE_GD_AT_END)
    r = stream_read_footer (source->file, h);
  else if (r == VIX_OK)
    r = sparse_check_directory (source->file, h);
  if (r == VIX_E_DISK_INVALIDDISK || r == VIX_E_DISK_NEEDSREPAIR) {
    finding (f, FOUND_LOSS, "%s: the grain directory of the compressed extent cannot be found", source->file->path);
    return VIX_OK;
  }
  if (r != VIX_OK)
    return r;
  w.s = sparse_new (source, h);
  if (!w.s)
    return report_no_memory ();
  r = walk (&w);
  sparse_free (w.s);
  return r;
}
