/* Opening a hosted sparse extent: header, directory, and for writing the check of its tables. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "base/log.h"
#include "formats/sparse/sparse.h"
#include "formats/sparse/stream.h"

void
sparse_free (struct sparse *s)
{
  cache_free (s);
  free (s->gd);
  free (s->rgd);
  pthread_rwlock_destroy (&s->lock);
  pthread_mutex_destroy (&s->flushing);
  pthread_mutex_destroy (&s->allocation);
  pthread_cond_destroy (&s->released);
  free (s);
}

VixError
sparse_close (struct extent *e)
{
  struct sparse *s = (struct sparse *) e;
  VixError r = s->writer ? stream_end_writing (s) : sparse_finish (s);

  file_close (e->file);
  sparse_free (s);
  return r;
}

static const struct extent_ops sparse_ops = {
  .map = sparse_map,
  .scan = sparse_scan,
  .write = sparse_write,
  .flush = sparse_flush,
  .compact = sparse_compact,
  .close = sparse_close,
};

static const struct extent_ops stream_ops = {
  .map = sparse_map,
  .scan = sparse_scan,
  .read = stream_read,
  .close = sparse_close,
};

/* Readers come in a steady stream and must not keep a writer out. */
static void
init_lock (pthread_rwlock_t *lock)
{
#ifdef __GLIBC__
  pthread_rwlockattr_t attr;

  pthread_rwlockattr_init (&attr);
  pthread_rwlockattr_setkind_np (&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init (lock, &attr);
  pthread_rwlockattr_destroy (&attr);
#else
  pthread_rwlock_init (lock, NULL);
#endif
}

struct sparse *
sparse_new (const struct extent_source *source, const struct sparse_header *h)
{
  struct sparse *s = calloc (1, sizeof *s);

  if (!s)
    return NULL;
  s->compressed = h->flags & SPARSE_FLAG_COMPRESSED;
  s->base = (struct extent){ .ops = s->compressed ? &stream_ops : &sparse_ops,
                             .file = source->file,
                             .sectors = source->line->sectors };
  s->grain_bits = (unsigned) __builtin_ctzll (h->grain_size);
  s->table_bits = (unsigned) __builtin_ctz (h->num_gtes_per_gt);
  s->table_bytes = h->num_gtes_per_gt * sizeof (uint32_t);
  s->table_sectors = (uint32_t) (s->table_bytes / SECTOR_SIZE);
  s->n_tables = (uint32_t) ((h->capacity - 1) >> (s->grain_bits + s->table_bits)) + 1;
  s->redundant = h->flags & SPARSE_FLAG_REDUNDANT;
  s->zeroed_grains = h->flags & SPARSE_FLAG_ZEROED_GTE;
  s->descriptor_end = h->descriptor_offset ? h->descriptor_offset + h->descriptor_size : 1;
  s->first_grain = h->overhead > s->descriptor_end ? h->overhead : s->descriptor_end;
  s->gd_offset = h->gd_offset;
  s->rgd_offset = h->rgd_offset;
  s->found_unclean = h->unclean_shutdown != 0;
  s->end = round_up (round_up (source->file->size, SECTOR_SIZE) / SECTOR_SIZE, h->grain_size);
  init_lock (&s->lock);
  pthread_mutex_init (&s->flushing, NULL);
  pthread_mutex_init (&s->allocation, NULL);
  pthread_cond_init (&s->released, NULL);
  return s;
}

static VixError
load_directory (const struct sparse *s, uint64_t offset, uint32_t **out)
{
  *out = malloc (s->n_tables * sizeof **out);
  return *out ? file_read (s->base.file, *out, s->n_tables * sizeof **out, offset * SECTOR_SIZE) : report_no_memory ();
}

/* Entries must point behind the descriptor, into the file, and not at a directory. */
static VixError
check_directory_entries (const struct sparse *s, const uint32_t *directory, const char *name)
{
  const uint64_t file_sectors = s->base.file->size / SECTOR_SIZE,
                 n = round_up (4ull * s->n_tables, SECTOR_SIZE) / SECTOR_SIZE;

  for (uint32_t i = 0; i < s->n_tables; ++i) {
    const uint64_t sector = le32toh (directory[i]), end = sector + s->table_sectors;

    if (sector == 0)
      continue;
    if (sector < s->descriptor_end || end > file_sectors)
      return report (VIX_E_DISK_INVALIDDISK,
                     "%s: %s, entry %u: grain table at sector %llu does not lie inside the file", s->base.file->path,
                     name, i, (unsigned long long) sector);
    if ((sector < s->gd_offset + n && end > s->gd_offset)
        || (s->rgd && sector < s->rgd_offset + n && end > s->rgd_offset))
      return report (VIX_E_DISK_INVALIDDISK, "%s: %s, entry %u: grain table at sector %llu lies on a directory",
                     s->base.file->path, name, i, (unsigned long long) sector);
  }
  return VIX_OK;
}

static int
by_sector (const void *a, const void *b)
{
  const uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

  return x < y ? -1 : x > y;
}

/* Index of the first of n sectors whose table does not lie behind the one before it; n if all do. */
static size_t
find_overlap (const struct sparse *s, const uint32_t *sectors, size_t n)
{
  size_t i = 1;

  while (i < n && sectors[i] >= (uint64_t) sectors[i - 1] + s->table_sectors)
    ++i;
  return i < n ? i : n;
}

/* True if each table lies behind the one before it.  *first, *end: the sectors that they take. */
static bool
tables_ascend (const struct sparse *s, const uint32_t *directory, uint64_t *first, uint64_t *end)
{
  *first = UINT64_MAX;
  *end = 0;
  for (uint32_t i = 0; i < s->n_tables; ++i) {
    const uint64_t sector = le32toh (directory[i]);

    if (sector == 0)
      continue;
    if (sector < *end)
      return false;
    *first = *end == 0 ? sector : *first;
    *end = sector + s->table_sectors;
  }
  return true;
}

/* What the usual writers make: one directory's tables in their order, then the other's. */
static bool
are_in_order (const struct sparse *s)
{
  uint64_t first, end, redundant_first, redundant_end;

  if (!tables_ascend (s, s->gd, &first, &end))
    return false;
  if (!s->rgd)
    return true;
  return tables_ascend (s, s->rgd, &redundant_first, &redundant_end) && (redundant_end <= first || end <= redundant_first);
}

/* No two entries, of both directories, may share a table. */
static VixError
check_distinct (const struct sparse *s)
{
  CLEANUP_FREE uint32_t *sectors = NULL;
  const uint32_t *const directories[] = { s->rgd, s->gd };
  size_t n = 0, at;

  if (are_in_order (s))
    return VIX_OK;
  sectors = calloc (2ull * s->n_tables, sizeof *sectors);
  if (!sectors)
    return report_no_memory ();
  for (unsigned d = 0; d < 2; ++d)
    for (uint32_t i = 0; directories[d] && i < s->n_tables; ++i)
      if (directories[d][i] != 0)
        sectors[n++] = le32toh (directories[d][i]);
  qsort (sectors, n, sizeof *sectors, by_sector);
  at = find_overlap (s, sectors, n);
  if (at == n)
    return VIX_OK;
  return report (VIX_E_DISK_INVALIDDISK, "%s: two entries of the grain directories lead to the table at sector %u",
                 s->base.file->path, sectors[at]);
}

static VixError
load_tables (struct sparse *s, size_t extents)
{
  VixError r = load_directory (s, s->gd_offset, &s->gd);

  if (r == VIX_OK && s->base.file->writable && s->redundant && !s->compressed)
    r = load_directory (s, s->rgd_offset, &s->rgd);
  if (r == VIX_OK)
    r = check_directory_entries (s, s->gd, "grain directory");
  if (r == VIX_OK && s->rgd)
    r = check_directory_entries (s, s->rgd, "redundant grain directory");
  if (r == VIX_OK)
    r = check_distinct (s);
  if (r == VIX_OK)
    r = cache_init (s, extents);
  return r == VIX_OK && s->base.file->writable && !s->compressed ? sparse_verify (s) : r;
}

VixError
sparse_refuse_nested (const struct extent_source *source, const struct sparse_header *h)
{
  char first = '\0';
  VixError r = VIX_OK;

  if (!source->embedded && h->descriptor_offset)
    r = file_read (source->file, &first, 1, h->descriptor_offset * SECTOR_SIZE);
  if (r == VIX_OK && first != '\0')
    return report (VIX_E_DISK_INVALIDDISK,
                   "%s: is a disk of its own, with a descriptor inside; line %zu of %s cannot use it as an extent",
                   source->file->path, source->line->line, source->where);
  return r;
}

/* The header of an extent that did not come to grow says again what the extent line says; the tables that were to follow
 * stay, with nothing in them. */
static VixError
undo_growth (const struct file *f, uint64_t capacity)
{
  const uint64_t sectors = htole64 (capacity);
  VixError r = file_write (f, &sectors, sizeof sectors, offsetof (struct sparse_header, capacity));

  if (r == VIX_OK)
    r = file_sync (f);
  if (r == VIX_OK)
    engine_warn ("%s: was about to grow when its writer died; it has its old size", f->path);
  return r;
}

VixError
sparse_open (const struct extent_source *source, struct extent **out)
{
  struct sparse_header h;
  struct sparse *s;
  bool at_end, interrupted = false;
  VixError r = sparse_read_header (source->file, &h);

  at_end = r == VIX_OK && h.gd_offset == SPARSE_GD_AT_END;
  if (r == VIX_OK)
    r = sparse_check_header (source->file, &h, source->line->sectors, &interrupted);
  if (r == VIX_OK)
    r = sparse_refuse_nested (source, &h);
  if (r == VIX_OK && (h.flags & SPARSE_FLAG_COMPRESSED))
    r = stream_read_footer (source->file, &h);
  if (r != VIX_OK)
    return r;
  s = sparse_new (source, &h);
  if (!s)
    return report_no_memory ();
  r = load_tables (s, source->of);
  if (r == VIX_OK && s->compressed && source->file->writable)
    r = stream_begin_writing (s, at_end);
  if (r == VIX_OK && interrupted && source->file->writable)
    r = undo_growth (source->file, h.capacity);
  if (r != VIX_OK) {
    sparse_free (s);
    return r;
  }
  *out = &s->base;
  return VIX_OK;
}
