/* The repair of a hosted sparse extent whose damage can be mended.  All that is new goes to the end of the file first:
 * until it is on storage nothing else is touched, and if it does not fit the file is as before.  Then directories,
 * header and tables are corrected in place, each entry at once, under a header that says "unclean": interrupted, the
 * disk is no worse than it was, and another repair ends the work. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "formats/sparse/check.h"

#define ULL(n) ((unsigned long long) (n))

/* Sectors at the end of the file. */
static VixError
append (uint64_t *end, uint64_t sectors, uint64_t *position, const struct check *c)
{
  if (sectors > SPARSE_MAX_FILE_SECTORS || *end > SPARSE_MAX_FILE_SECTORS - sectors)
    return report (VIX_E_FILE_TOO_BIG, "%s: a repair has no room below 2 TiB", c->s->base.file->path);
  *position = *end;
  *end += sectors;
  return VIX_OK;
}

/* A directory that was lost gets a place, yet without entries. */
static VixError
append_directories (struct check *c, uint64_t *end)
{
  VixError r = VIX_OK;

  for (unsigned d = 0; r == VIX_OK && d < 2; ++d)
    if (c->sides[d].states && *c->sides[d].offset == 0)
      r = append (end, directory_sectors (c->s), c->sides[d].offset, c);
  return r;
}

/* The table that one directory has, for the other one. */
static VixError
append_table (struct check *c, struct side *side, const struct side *other, uint32_t i, uint32_t *buffer, uint64_t *end)
{
  const struct sparse *s = c->s;
  uint64_t position = 0;
  VixError r = append (end, s->table_sectors, &position, c);

  if (r == VIX_OK)
    r = file_read (s->base.file, buffer, s->table_bytes, le32toh ((*other->entries)[i]) * SECTOR_SIZE);
  if (r == VIX_OK)
    r = file_write (s->base.file, buffer, s->table_bytes, position * SECTOR_SIZE);
  if (r == VIX_OK) {
    (*side->entries)[i] = htole32 ((uint32_t) position);
    side->changed = true;
  }
  return r;
}

static VixError
append_tables (struct check *c, uint64_t *end)
{
  CLEANUP_FREE uint32_t *buffer = malloc (c->s->table_bytes);
  struct side *a = &c->sides[0], *b = &c->sides[1];
  VixError r = buffer ? VIX_OK : report_no_memory ();

  for (uint32_t i = 0; r == VIX_OK && b->states && i < c->s->n_tables; ++i) {
    const bool has_a = (*a->entries)[i] != 0, has_b = (*b->entries)[i] != 0;

    if (has_a && !has_b)
      r = append_table (c, b, a, i, buffer, end);
    else if (has_b && !has_a)
      r = append_table (c, a, b, i, buffer, end);
  }
  return r;
}

static VixError
append_grains (struct check *c, uint64_t *end)
{
  const size_t bytes = grain_sectors (c->s) * SECTOR_SIZE;
  CLEANUP_FREE uint8_t *buffer = malloc (bytes);
  uint64_t position = 0;
  VixError r = buffer ? VIX_OK : report_no_memory ();

  for (size_t n = 0; r == VIX_OK && n < c->scan.n_copies; ++n) {
    r = append (end, grain_sectors (c->s), &position, c);
    if (r == VIX_OK)
      r = file_read (c->s->base.file, buffer, bytes, c->scan.copies[n] * SECTOR_SIZE);
    if (r == VIX_OK)
      r = file_write (c->s->base.file, buffer, bytes, position * SECTOR_SIZE);
  }
  return r;
}

/* The end of the file, a whole number of grains. */
static VixError
set_size (const struct check *c, uint64_t sectors)
{
  const struct file *f = c->s->base.file;

  if (ftruncate (f->fd, (off_t) (sectors * SECTOR_SIZE)) == -1)
    return report_errno (errno, f->path, "set the size");
  return VIX_OK;
}

/* Everything new: grains first, at the place that the scan gave them. */
static VixError
append_all (struct check *c)
{
  uint64_t end = c->scan.copies_at;
  VixError r = VIX_OK;

  if (c->scan.cut || c->scan.n_copies > 0)
    r = set_size (c, end);
  if (r == VIX_OK)
    r = append_grains (c, &end);
  if (r == VIX_OK)
    r = append_directories (c, &end);
  if (r == VIX_OK)
    r = append_tables (c, &end);
  if (r == VIX_OK && end != c->scan.copies_at)
    r = set_size (c, round_up (end, grain_sectors (c->s)));
  return r == VIX_OK ? file_sync (c->s->base.file) : r;
}

/* The header, noting whether the work is done. */
static VixError
store_header (struct check *c, bool unclean)
{
  const struct file *f = c->s->base.file;
  struct sparse_header h = c->header;
  VixError r;

  h.gd_offset = c->s->gd_offset;
  h.rgd_offset = c->s->redundant ? c->s->rgd_offset : c->header.rgd_offset;
  h.unclean_shutdown = unclean;
  sparse_swap_header (&h);
  r = file_write (f, &h, sizeof h, 0);
  return r == VIX_OK ? file_sync (f) : r;
}

/* The directories that were changed, in place or in their new one. */
static VixError
store_directories (struct check *c)
{
  VixError r = VIX_OK;

  for (unsigned d = 0; r == VIX_OK && d < 2; ++d)
    if (c->sides[d].changed)
      r = file_write (c->s->base.file, *c->sides[d].entries, c->s->n_tables * sizeof **c->sides[d].entries,
                      *c->sides[d].offset * SECTOR_SIZE);
  return r == VIX_OK ? file_sync (c->s->base.file) : r;
}

static VixError
store_tables (struct check *c)
{
  struct findings silent = { 0 };
  struct scan scan;
  VixError r = scan_init (&scan, c->s, &silent);

  scan.whole = scan.write = true;
  scan.copies_at = c->scan.copies_at;
  if (r == VIX_OK)
    r = scan_tables (&scan);
  scan_free (&scan);
  return r == VIX_OK ? file_sync (c->s->base.file) : r;
}

static VixError
correct (struct check *c)
{
  static const uint8_t one = 1;
  struct file *f = c->s->base.file;
  VixError r = file_write (f, &one, 1, offsetof (struct sparse_header, unclean_shutdown));

  if (r == VIX_OK)
    r = file_sync (f);
  if (r == VIX_OK)
    r = store_directories (c);
  if (r == VIX_OK)
    r = store_header (c, true);
  if (r == VIX_OK)
    r = store_tables (c);
  return r == VIX_OK ? store_header (c, false) : r;
}

VixError
check_repair (struct check *c)
{
  struct file *f = c->s->base.file;
  const uint64_t before = f->size;
  struct stat st;
  VixError r;

  if (!f->writable)
    return report (VIX_E_FILE_READ_ONLY, "%s: is an extent that may not be written, and cannot be repaired", f->path);
  r = append_all (c);
  if (r != VIX_OK) {
    if (ftruncate (f->fd, (off_t) before) == -1)
      engine_warn ("%s: what the repair had added could not be removed: %m", f->path);
    return r;
  }
  r = correct (c);
  if (r == VIX_OK && fstat (f->fd, &st) == 0)
    f->size = (uint64_t) st.st_size;
  return r;
}
