/* What leaves the window of a stream: grains, compressed on all processors, and the tables behind them. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/zero.h"
#include "formats/deflate.h"
#include "formats/sparse/stream_writer.h"

/* Grains on their way into the file. */
struct batch {
  struct stream_writer *w;
  unsigned n;
  uint64_t grains[BATCH];
  size_t sizes[BATCH]; /* packed, with the marker, padded */
  VixError errors[BATCH];
};

/* For parallel. */
static void
pack_grain (void *opaque, unsigned i)
{
  struct batch *b = opaque;
  uint8_t *packed = b->w->packed + i * PACKED_BYTES;
  struct grain_marker marker = { .sector = htole64 (b->grains[i] * SPARSE_GRAIN_SECTORS) };
  size_t length = PACKED_BYTES - sizeof marker;

  b->errors[i] = deflate_into (find_slot (b->w, b->grains[i])->data, GRAIN_BYTES, packed + sizeof marker, &length);
  if (b->errors[i] != VIX_OK)
    return;
  marker.size = htole32 ((uint32_t) length);
  memcpy (packed, &marker, sizeof marker);
  length += sizeof marker;
  b->sizes[i] = round_up (length, SECTOR_SIZE);
  memset (packed + length, 0, b->sizes[i] - length);
}

/* A file ends where 32 bits of the tables end. */
VixError
stream_check_room (const struct stream_writer *w, uint64_t sectors)
{
  if (sectors <= SPARSE_MAX_FILE_SECTORS && w->next <= SPARSE_MAX_FILE_SECTORS - sectors)
    return VIX_OK;
  return report (VIX_E_FILE_TOO_BIG, "%s: a compressed stream cannot grow beyond 2 TiB", w->s->base.file->path);
}

static VixError
append_batch (struct batch *b)
{
  struct stream_writer *w = b->w;
  struct iovec iov[BATCH];
  uint64_t total = 0;
  VixError r = VIX_OK;

  parallel (b->n, pack_grain, b);
  for (unsigned i = 0; r == VIX_OK && i < b->n; ++i) {
    iov[i] = (struct iovec){ w->packed + i * PACKED_BYTES, b->sizes[i] };
    total += b->sizes[i] / SECTOR_SIZE;
    r = b->errors[i];
  }
  if (r == VIX_OK)
    r = stream_check_room (w, total);
  if (r == VIX_OK)
    r = file_writev (w->s->base.file, iov, (int) b->n, w->next * SECTOR_SIZE);
  for (unsigned i = 0; r == VIX_OK && i < b->n; ++i) {
    struct slot *slot = find_slot (w, b->grains[i]);

    slot->sector = (uint32_t) w->next;
    slot->changed = false;
    w->next += b->sizes[i] / SECTOR_SIZE;
  }
  b->n = 0;
  return r;
}

/* One of zeros is left out unless an older copy must be superseded. */
VixError
stream_append_grains (struct stream_writer *w, uint64_t first, uint64_t end)
{
  struct batch b = { .w = w };
  VixError r = VIX_OK;

  for (uint64_t grain = first; r == VIX_OK && grain < end; ++grain) {
    const struct slot *slot = find_slot (w, grain);

    if (!slot || !slot->changed || (slot->sector == 0 && is_zero (slot->data, GRAIN_BYTES)))
      continue;
    b.grains[b.n++] = grain;
    if (b.n == BATCH)
      r = append_batch (&b);
  }
  return r == VIX_OK && b.n > 0 ? append_batch (&b) : r;
}

/* Takes s->lock. */
VixError
stream_append_table (struct stream_writer *w)
{
  struct sparse *s = w->s;
  const struct stream_marker marker = stream_make_marker (STREAM_TABLE, s->table_sectors);
  struct table *t;
  VixError r = w->table == NO_TABLE ? VIX_OK : stream_check_room (w, 1 + s->table_sectors);

  if (r != VIX_OK || w->table == NO_TABLE)
    return r;
  pthread_rwlock_rdlock (&s->lock);
  t = cache_find (s, w->table); /* stays: it is dirty, and only we change it */
  pthread_rwlock_unlock (&s->lock);
  struct iovec iov[] = { { (void *) &marker, sizeof marker }, { t->entries, s->table_bytes } };
  r = file_writev (s->base.file, iov, 2, w->next * SECTOR_SIZE);
  if (r != VIX_OK)
    return r;
  pthread_rwlock_wrlock (&s->lock);
  s->gd[w->table] = htole32 ((uint32_t) w->next + 1);
  t->dirty = false;
  atomic_fetch_sub (&s->n_dirty, 1);
  pthread_rwlock_unlock (&s->lock);
  w->next += 1 + s->table_sectors;
  w->table = NO_TABLE;
  return VIX_OK;
}

/* Enters a grain's place into its table, which is the one that is being filled, or becomes it.  Takes s->lock. */
static VixError
enter_grain (struct stream_writer *w, uint64_t grain, uint32_t sector)
{
  struct sparse *s = w->s;
  const uint32_t index = (uint32_t) (grain >> s->table_bits);
  VixError r = VIX_OK;

  if (w->table != index) {
    r = cache_add (s, index);
    if (r != VIX_OK)
      return r;
    w->table = index;
  }
  pthread_rwlock_wrlock (&s->lock);
  cache_find (s, index)->entries[grain & (table_entries (s) - 1)] = htole32 (sector);
  pthread_rwlock_unlock (&s->lock);
  return VIX_OK;
}

/* The window's part before end, all in one table, leaves. */
static VixError
release_part (struct stream_writer *w, uint64_t end)
{
  VixError r = stream_append_grains (w, w->first, end);

  while (r == VIX_OK && w->first < end) {
    struct slot *slot = find_slot (w, w->first);

    if (slot && slot->sector != 0)
      r = enter_grain (w, w->first, slot->sector);
    if (r != VIX_OK)
      return r;
    if (slot) {
      free (slot->data);
      *slot = (struct slot){ 0 };
    }
    ++w->first;
  }
  return r;
}

VixError
stream_release (struct stream_writer *w, uint64_t first)
{
  const uint32_t entries = table_entries (w->s);
  const uint64_t last = w->first + WINDOW < first ? w->first + WINDOW : first;
  VixError r = VIX_OK;

  while (r == VIX_OK && w->first < last) {
    const uint64_t table_end = (w->first / entries + 1) * entries;

    r = release_part (w, table_end < last ? table_end : last);
    if (r == VIX_OK && w->first == table_end)
      r = stream_append_table (w);
  }
  if (r == VIX_OK && first / entries != w->first / entries)
    r = stream_append_table (w);
  if (r == VIX_OK)
    w->first = first;
  return r;
}
