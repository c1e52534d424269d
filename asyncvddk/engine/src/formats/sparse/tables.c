/* Grain tables in bulk, past the cache: whole areas of tables are read at once, and what a sparse file never stored of
 * them is not read at all. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "formats/sparse/sparse.h"

/* Most and least that is read at once: small pieces where tables are scattered over a hole, larger ones while data goes
 * on.  (To ask where the data ends costs more than to read a little too much.) */
#define BULK_BYTES (64u << 10)
#define PIECE_BYTES (16u << 10)

/* Tables that lie one behind the other in the file, from byte offset on. */
struct group {
  uint32_t first, n;
  uint64_t offset;
  uint64_t piece; /* bytes to read next */
};

/* Takes n tables off the front. */
static void
advance (const struct sparse *s, struct group *g, uint64_t n)
{
  g->first += (uint32_t) n;
  g->n -= (uint32_t) n;
  g->offset += n * s->table_bytes;
}

/* Hands over the tables at the front of the group that are a hole of the file. */
static VixError
skip_hole (const struct sparse *s, struct group *g, table_function *f, void *opaque)
{
  const uint64_t data = file_seek_data (s->base.file, g->offset, g->offset + g->n * s->table_bytes);
  const uint32_t n = (uint32_t) ((data - g->offset) / s->table_bytes);
  VixError r = n > 0 ? f (opaque, g->first, n, NULL) : VIX_OK;

  g->piece = n > 0 ? PIECE_BYTES : g->piece < BULK_BYTES ? 2 * g->piece : BULK_BYTES;
  advance (s, g, n);
  return r;
}

static VixError
walk_group (struct sparse *s, struct group g, uint32_t *buffer, table_function *f, void *opaque)
{
  VixError r = skip_hole (s, &g, f, opaque);

  while (r == VIX_OK && g.n > 0) {
    uint64_t n = g.piece / s->table_bytes;

    if (n > g.n)
      n = g.n;
    r = file_read (s->base.file, buffer, n * s->table_bytes, g.offset);
    if (r == VIX_OK)
      r = f (opaque, g.first, (uint32_t) n, buffer);
    advance (s, &g, n);
    if (r == VIX_OK && g.n > 0)
      r = skip_hole (s, &g, f, opaque);
  }
  return r;
}

/* How many of max entries are zero, or point at tables one behind the other. */
static uint32_t
group_length (const struct sparse *s, const uint32_t *entry, uint32_t max)
{
  const uint64_t sector = le32toh (*entry);
  uint32_t n = 1;

  while (n < max && le32toh (entry[n]) == (sector ? sector + (uint64_t) n * s->table_sectors : 0))
    ++n;
  return n;
}

/* Part of a directory as it is now, malloc'ed. */
static uint32_t *
copy_directory (struct sparse *s, const uint32_t *directory, uint32_t first, uint32_t end)
{
  uint32_t *copy = malloc ((end - first) * sizeof *copy);

  if (copy) {
    pthread_rwlock_rdlock (&s->lock);
    memcpy (copy, directory + first, (end - first) * sizeof *copy);
    pthread_rwlock_unlock (&s->lock);
  }
  return copy;
}

VixError
walk_tables (struct sparse *s, const uint32_t *directory, uint32_t first, uint32_t end, table_function *f, void *opaque)
{
  CLEANUP_FREE uint32_t *buffer = malloc (BULK_BYTES);
  CLEANUP_FREE uint32_t *entries = copy_directory (s, directory, first, end);
  VixError r = buffer && entries ? VIX_OK : report_no_memory ();

  for (uint32_t i = 0; r == VIX_OK && i < end - first;) {
    uint32_t n = group_length (s, entries + i, end - first - i);
    struct group g = { first + i, n, le32toh (entries[i]) * SECTOR_SIZE, BULK_BYTES };

    r = g.offset ? walk_group (s, g, buffer, f, opaque) : f (opaque, g.first, n, NULL);
    i += n;
  }
  return r;
}
