/* Which slots of the file are in use, and by what. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/sparse/compact.h"

#define DAMAGED(...) report (VIX_E_DISK_NEEDSREPAIR, __VA_ARGS__)

static void
fix_sectors (struct compactor *c, uint64_t start, uint64_t count)
{
  for (uint64_t slot = start >> c->s->grain_bits; count > 0 && slot <= (start + count - 1) >> c->s->grain_bits; ++slot)
    if (slot < c->n_owners)
      c->owners[slot] = SLOT_FIXED;
}

static void
fix_tables (struct compactor *c, const uint32_t *directory, uint64_t offset)
{
  fix_sectors (c, offset, round_up (4ull * c->s->n_tables, SECTOR_SIZE) / SECTOR_SIZE);
  for (uint32_t i = 0; i < c->s->n_tables; ++i)
    if (directory[i] != 0)
      fix_sectors (c, le32toh (directory[i]), c->s->table_sectors);
}

/* Everything that is no grain.  Tables that were added in a pause are among it. */
static void
fix_metadata (struct compactor *c)
{
  fix_sectors (c, 0, c->s->first_grain);
  fix_tables (c, c->s->gd, c->s->gd_offset);
  if (c->s->redundant)
    fix_tables (c, c->s->rgd, c->s->rgd_offset);
}

/* What nobody writes to takes no memory: a file may have holes of terabytes. */
VixError
compact_extend (struct compactor *c, uint64_t n)
{
  uint32_t *owners = c->owners;

  if (!owners)
    owners = calloc (n, sizeof *owners);
  else if (n > c->n_owners)
    owners = reallocarray (c->owners, n, sizeof *owners);
  if (!owners)
    return report_no_memory ();
  if (c->owners && n > c->n_owners)
    memset (owners + c->n_owners, 0, (n - c->n_owners) * sizeof *owners);
  c->owners = owners;
  c->n_owners = n > c->n_owners ? n : c->n_owners;
  return VIX_OK;
}

struct look {
  struct compactor *c;
  uint64_t known;   /* slots below were looked at before */
  uint64_t sectors; /* of the file */
  bool compare;     /* with the redundant tables: opening did not */
  uint32_t first;   /* table with entries[0] */
  const uint32_t *entries, *zeros; /* NULL: zeros, which there are for one table */
};

/* Opening has judged the tables, but lets pass what only hurts when grains are moved: a grain behind the end of the disk,
 * and one of which the file has but a part. */
static VixError
look_at_entry (const struct look *look, uint64_t grain, uint32_t entry)
{
  struct compactor *c = look->c;
  const struct sparse *s = c->s;
  const uint64_t slot = entry >> s->grain_bits, sectors = s->base.sectors, start = grain << s->grain_bits;
  const uint64_t end = entry + grain_sectors (s);
  const char *path = s->base.file->path;

  if (start >= sectors)
    return DAMAGED ("%s: sector %u holds a grain that lies behind the end of the disk; repair the disk first", path,
                    entry);
  if (entry < s->first_grain || end > look->sectors || entry & (grain_sectors (s) - 1) || c->owners[slot] != SLOT_FREE)
    return DAMAGED ("%s: the entry for sector %llu of the extent leads to sector %u of the file, where no whole "
                    "grain lies, or that of another one; repair the disk first",
                    path, (unsigned long long) start, entry);
  c->owners[slot] = (uint32_t) grain + 1;
  ++c->grains;
  return VIX_OK;
}


static VixError
look_at_table (const struct look *look, uint32_t index, const uint32_t *entries)
{
  struct compactor *c = look->c;
  const struct sparse *s = c->s;
  VixError r = VIX_OK;

  for (uint32_t i = 0; r == VIX_OK && i < table_entries (s); ++i) {
    const uint32_t entry = le32toh (entries[i]);

    if (entry == 0)
      continue;
    c->in_use[index >> 3] |= (uint8_t) (1u << (index & 7));
    if (!(entry == SPARSE_GTE_ZEROED && s->zeroed_grains) && entry >> s->grain_bits >= look->known)
      r = look_at_entry (look, ((uint64_t) index << s->table_bits) + i, entry);
  }
  return r;
}

/* table_function for the redundant tables; look->entries has the others. */
static VixError
compare_tables (void *opaque, uint32_t first, uint32_t n, const uint32_t *entries)
{
  const struct look *look = opaque;
  const struct sparse *s = look->c->s;

  for (uint32_t i = 0; (entries || look->entries) && i < n; ++i) {
    const uint32_t *theirs = entries ? entries + ((size_t) i << s->table_bits) : look->zeros;
    const uint32_t *ours =
        look->entries ? look->entries + ((size_t) (first + i - look->first) << s->table_bits) : look->zeros;

    if (memcmp (ours, theirs, s->table_bytes) != 0)
      return DAMAGED ("%s: grain table %u differs from its redundant copy; repair the disk first", s->base.file->path,
                      first + i);
  }
  return VIX_OK;
}

/* table_function. */
static VixError
look_at_tables (void *opaque, uint32_t first, uint32_t n, const uint32_t *entries)
{
  struct look *look = opaque;
  VixError r = VIX_OK;

  look->first = first;
  look->entries = entries;
  if (look->compare)
    r = walk_tables (look->c->s, look->c->s->rgd, first, first + n, compare_tables, look);
  for (uint32_t i = 0; entries && r == VIX_OK && i < n; ++i)
    r = look_at_table (look, first + i, entries + ((size_t) i << look->c->s->table_bits));
  return r;
}

static VixError
look_at_file (struct compactor *c, uint64_t known)
{
  struct sparse *s = c->s;
  CLEANUP_FREE uint32_t *zeros = calloc (1, s->table_bytes);
  struct look look = {
    .c = c, .known = known, .compare = known == 0 && s->redundant && !s->verified, .zeros = zeros
  };
  struct stat st;

  if (!zeros)
    return report_no_memory ();
  if (fstat (s->base.file->fd, &st) == -1)
    return report_errno (errno, s->base.file->path, "stat");
  look.sectors = (uint64_t) st.st_size / SECTOR_SIZE;
  fix_metadata (c);
  return walk_tables (s, s->gd, 0, s->n_tables, look_at_tables, &look);
}

VixError
compact_look (struct compactor *c)
{
  const uint64_t known = c->n_owners, end = atomic_load (&c->s->end);
  const uint64_t n = (end < SPARSE_MAX_FILE_SECTORS ? end : SPARSE_MAX_FILE_SECTORS) >> c->s->grain_bits;
  VixError r = sparse_flush (&c->s->base);

  if (r != VIX_OK || (known > 0 && n <= known))
    return r;
  r = compact_extend (c, n);
  return r == VIX_OK ? look_at_file (c, known) : r;
}

static VixError
copy_table (struct sparse *s, uint32_t index, uint32_t *entries)
{
  const struct table *t;

  pthread_rwlock_rdlock (&s->lock);
  while (!(t = cache_find (s, index))) {
    VixError r;

    pthread_rwlock_unlock (&s->lock);
    r = cache_load (s, index, false);
    if (r != VIX_OK)
      return r;
    pthread_rwlock_rdlock (&s->lock);
  }
  memcpy (entries, t->entries, s->table_bytes);
  pthread_rwlock_unlock (&s->lock);
  return VIX_OK;
}

VixError
compact_next (struct compactor *c, struct cursor *at, uint32_t *entry)
{
  struct sparse *s = c->s;
  const uint64_t end = ((s->base.sectors - 1) >> s->grain_bits) + 1;

  for (*entry = 0; *entry == 0 && at->grain < end;) {
    const uint32_t index = (uint32_t) (at->grain >> s->table_bits);
    VixError r = VIX_OK;

    if (!(c->in_use[index >> 3] & (1u << (index & 7)))) {
      at->grain = (uint64_t) (index + 1) << s->table_bits;
      continue;
    }
    if (at->index != index)
      r = copy_table (s, index, at->entries);
    if (r != VIX_OK)
      return r;
    at->index = index;
    *entry = le32toh (at->entries[at->grain++ & (table_entries (s) - 1)]);
  }
  return VIX_OK;
}
