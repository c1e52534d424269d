/* Grain tables in bulk, past the cache: whole areas of tables are read at once, and what a sparse file never stored of
 * them is not read at all. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "formats/sparse/sparse.h"

/* Most that is read at once: it stays in the processor's cache until it was looked at. */
#define BULK_BYTES (64u << 10)

/* What is stored of a single table at most: it may lie across two blocks of the file system. */
#define BLOCKS_BYTES 8192u

/* Tables that lie one behind the other in the file, from byte offset on. */
struct group {
  uint32_t first, n;
  uint64_t offset;
};

/* Hands over n tables off the front; entries as for f. */
static VixError
hand_over (const struct sparse *s, struct group *g, uint64_t n, const uint32_t *entries, table_function *f, void *opaque)
{
  const uint32_t first = g->first;

  g->first += (uint32_t) n;
  g->n -= (uint32_t) n;
  g->offset += n * s->table_bytes;
  return n > 0 ? f (opaque, first, (uint32_t) n, entries) : VIX_OK;
}

/* The tables that have a byte before stop.  What they have before data is a hole. */
static VixError
walk_data (struct sparse *s, struct group *g, uint64_t data, uint64_t stop, uint8_t *buffer, table_function *f,
           void *opaque)
{
  VixError r = VIX_OK;

  while (r == VIX_OK && g->offset < stop) {
    const uint64_t hole = data > g->offset ? data - g->offset : 0;
    uint64_t n = round_up (stop - g->offset, s->table_bytes) / s->table_bytes;

    if (n > BULK_BYTES / s->table_bytes)
      n = BULK_BYTES / s->table_bytes;
    memset (buffer, 0, hole);
    r = file_read (s->base.file, buffer + hole, n * s->table_bytes - hole, g->offset + hole);
    if (r == VIX_OK)
      r = hand_over (s, g, n, (const uint32_t *) buffer, f, opaque);
  }
  return r;
}

/* Where to read to, from a place where data is.  Most often it is a single table, and to ask the file for the end of its
 * data would take as long as reading it: that is asked only of data that goes on behind what was read. */
static uint64_t
data_end (const struct sparse *s, uint64_t data, bool goes_on, uint64_t end)
{
  if (goes_on)
    return file_seek_hole (s->base.file, data, end);
  return end - data > BLOCKS_BYTES ? data + BLOCKS_BYTES : end;
}

/* Asking the file where data is pays: what is read of a hole takes the time and the page cache of data. */
static VixError
walk_group (struct sparse *s, struct group g, uint8_t *buffer, table_function *f, void *opaque)
{
  const uint64_t end = g.offset + g.n * s->table_bytes;
  VixError r = VIX_OK;

  for (uint64_t read_to = 0; r == VIX_OK && g.n > 0; read_to = g.offset) {
    const uint64_t data = file_seek_data (s->base.file, g.offset, end);

    r = hand_over (s, &g, (data - g.offset) / s->table_bytes, NULL, f, opaque);
    if (r == VIX_OK && data < end)
      r = walk_data (s, &g, data, data_end (s, data, data == read_to, end), buffer, f, opaque);
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
  CLEANUP_FREE uint8_t *buffer = malloc (BULK_BYTES);
  CLEANUP_FREE uint32_t *entries = copy_directory (s, directory, first, end);
  VixError r = buffer && entries ? VIX_OK : report_no_memory ();

  for (uint32_t i = 0; r == VIX_OK && i < end - first;) {
    uint32_t n = group_length (s, entries + i, end - first - i);
    struct group g = { first + i, n, le32toh (entries[i]) * SECTOR_SIZE };

    r = g.offset ? walk_group (s, g, buffer, f, opaque) : f (opaque, g.first, n, NULL);
    i += n;
  }
  return r;
}
