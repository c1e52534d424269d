/* Writing a streamOptimized extent, from front to back, each grain once.
 *
 * A window of grains is held in memory and moves along with the writes: inside it they may come in any order, as
 * requests of many threads do, and a grain that is written in pieces is collected.  Grains that the window leaves are
 * compressed, on all processors, and go to the end of the file.  Behind them there is no way back.
 *
 * The first write cuts off the end of the empty stream: a file without it is not a disk, and CheckRepair finds its
 * grains by their markers.  A flush appends the grains of the window as they are.  If one changes afterwards it is
 * appended again, and the tables lead to the newest copy; nothing that was flushed is ever overwritten. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/zero.h"
#include "formats/deflate.h"
#include "formats/sparse/stream_writer.h"

/* Offset of a run that is in the window. */
#define IN_WINDOW UINT64_MAX

/* Before the first change.  The file has no end from now on, for certain: of what a crash leaves behind none can be
 * taken for it. */
static VixError
begin (struct stream_writer *w)
{
  struct sparse *s = w->s;
  VixError r = VIX_OK;

  if (w->begun)
    return VIX_OK;
  if (!w->packed)
    w->packed = malloc (BATCH * PACKED_BYTES);
  if (!w->packed)
    return report_no_memory ();
  if (ftruncate (s->base.file->fd, (off_t) (s->first_grain * SECTOR_SIZE)) == -1)
    r = report_errno (errno, s->base.file->path, "cut the end off");
  if (r != VIX_OK)
    return r;
  w->cut = true;
  r = file_sync (s->base.file);
  w->begun = r == VIX_OK;
  return r;
}

static VixError
write_part (struct stream_writer *w, uint64_t grain, uint64_t skip, uint64_t count, const uint8_t *buf)
{
  struct slot *slot = &w->slots[grain % WINDOW];
  VixError r = VIX_OK;

  if (grain < w->first)
    return report (VIX_E_NOT_SUPPORTED,
                   "%s: sector %llu lies before sector %llu, up to which the stream is written: compressed streams are "
                   "written from front to back; write a sparse disk and clone it to a stream",
                   w->s->base.file->path, (unsigned long long) (grain * SPARSE_GRAIN_SECTORS + skip),
                   (unsigned long long) (w->first * SPARSE_GRAIN_SECTORS));
  if (grain >= w->first + WINDOW)
    r = stream_release (w, grain + BATCH - WINDOW);
  if (r != VIX_OK || (!slot->data && is_zero (buf, count * SECTOR_SIZE)))
    return r;
  if (!slot->data)
    slot->data = calloc (1, GRAIN_BYTES);
  if (!slot->data)
    return report_no_memory ();
  memcpy (slot->data + skip * SECTOR_SIZE, buf, count * SECTOR_SIZE);
  slot->changed = true;
  return VIX_OK;
}

static VixError
stream_write (struct extent *e, uint64_t start, uint64_t count, const uint8_t *buf, const struct backing *below)
{
  struct stream_writer *w = ((struct sparse *) e)->writer;
  VixError r;

  if (below->link || below->missing)
    return report (VIX_E_NOT_SUPPORTED, "%s: a compressed stream that has a parent cannot be written", e->file->path);
  SCOPED_LOCK (&w->lock);
  r = begin (w);
  while (r == VIX_OK && count > 0) {
    const uint64_t skip = start % SPARSE_GRAIN_SECTORS, left = SPARSE_GRAIN_SECTORS - skip;
    const uint64_t n = count < left ? count : left;

    r = write_part (w, start / SPARSE_GRAIN_SECTORS, skip, n, buf);
    start += n;
    count -= n;
    buf += n * SECTOR_SIZE;
  }
  return r;
}

static VixError
stream_flush (struct extent *e)
{
  struct stream_writer *w = ((struct sparse *) e)->writer;
  VixError r;

  SCOPED_LOCK (&w->lock);
  if (!w->cut)
    return VIX_OK;
  r = stream_append_grains (w, w->first, w->first + WINDOW);
  return r == VIX_OK ? file_sync (e->file) : r;
}

/* Sectors from start on, of count, in front of the next grain of the window.  Needs the lock. */
static uint64_t
sectors_before_window (struct stream_writer *w, uint64_t start, uint64_t count)
{
  uint64_t grain = start / SPARSE_GRAIN_SECTORS > w->first ? start / SPARSE_GRAIN_SECTORS : w->first;

  while (grain < w->first + WINDOW && !find_slot (w, grain))
    ++grain;
  if (grain < w->first + WINDOW && grain * SPARSE_GRAIN_SECTORS < start + count)
    return grain * SPARSE_GRAIN_SECTORS - start;
  return count;
}

static VixError
stream_map (struct extent *e, uint64_t start, uint64_t count, bool nowait, struct run *run)
{
  struct stream_writer *w = ((struct sparse *) e)->writer;
  const uint64_t left = SPARSE_GRAIN_SECTORS - start % SPARSE_GRAIN_SECTORS;
  bool held;

  if (!nowait)
    pthread_mutex_lock (&w->lock);
  else if (pthread_mutex_trylock (&w->lock) != 0)
    return DISK_WOULD_BLOCK;
  held = find_slot (w, start / SPARSE_GRAIN_SECTORS);
  if (!held)
    count = sectors_before_window (w, start, count);
  pthread_mutex_unlock (&w->lock);
  if (!held)
    return sparse_map (e, start, count, nowait, run);
  run->kind = RUN_DATA;
  run->count = count < left ? count : left;
  run->offset = IN_WINDOW;
  return VIX_OK;
}

/* False: not in the window any more. */
static bool
read_window (struct stream_writer *w, const struct run *run, uint8_t *buf)
{
  const struct slot *slot;

  SCOPED_LOCK (&w->lock);
  slot = find_slot (w, run->start / SPARSE_GRAIN_SECTORS);
  if (slot)
    memcpy (buf, slot->data + run->start % SPARSE_GRAIN_SECTORS * SECTOR_SIZE, run->count * SECTOR_SIZE);
  return slot;
}

/* What left the window since it was looked for is in the file by now, or was zeros. */
static VixError
stream_read_back (struct extent *e, const struct run *run, uint8_t *buf)
{
  struct run now = *run;
  VixError r = VIX_OK;

  if (run->offset == IN_WINDOW) {
    if (read_window (((struct sparse *) e)->writer, run, buf))
      return VIX_OK;
    r = sparse_map (e, run->start, run->count, false, &now);
  }
  if (r == VIX_OK && now.kind == RUN_DATA)
    return stream_read (e, &now, buf);
  memset (buf, 0, run->count * SECTOR_SIZE);
  return r;
}

static const struct extent_ops writing_ops = {
  .map = stream_map,
  .read = stream_read_back,
  .write = stream_write,
  .flush = stream_flush,
  .close = sparse_close,
  .in_order = true,
};

/* True if the extent is what create_stream_extent makes.  (A directory that came from the header has empty tables behind
 * it, or none at all.) */
static bool
is_empty_stream (const struct sparse *s, bool directory_at_end)
{
  return directory_at_end && !s->redundant && s->grain_bits == 7 && s->table_bits == 9
         && is_zero (s->gd, s->n_tables * sizeof *s->gd);
}

VixError
stream_begin_writing (struct sparse *s, bool directory_at_end)
{
  struct stream_writer *w;
  VixError r;

  if (!is_empty_stream (s, directory_at_end))
    return report (VIX_E_NOT_SUPPORTED,
                   "%s: a compressed stream that has content is only read; open it read-only, or clone it to another "
                   "type",
                   s->base.file->path);
  r = deflate_available ();
  w = r == VIX_OK ? calloc (1, sizeof *w) : NULL;
  if (!w)
    return r == VIX_OK ? report_no_memory () : r;
  w->s = s;
  w->next = s->first_grain;
  w->table = NO_TABLE;
  pthread_mutex_init (&w->lock, NULL);
  s->writer = w;
  s->base.ops = &writing_ops;
  s->end = SPARSE_MAX_FILE_SECTORS; /* the file grows; so much may lie in it */
  s->base.file->size = SPARSE_MAX_FILE_SECTORS * SECTOR_SIZE;
  return VIX_OK;
}

static VixError
write_rest (struct stream_writer *w)
{
  VixError r = stream_release (w, w->first + WINDOW);

  if (r == VIX_OK)
    r = stream_append_table (w);
  if (r == VIX_OK)
    r = stream_check_room (w, 4 + round_up (4ull * w->s->n_tables, SECTOR_SIZE) / SECTOR_SIZE);
  return r == VIX_OK ? stream_write_end (w->s->base.file, w->s->gd, w->s->n_tables, w->next) : r;
}

VixError
stream_end_writing (struct sparse *s)
{
  struct stream_writer *w = s->writer;
  VixError r = w->cut ? write_rest (w) : VIX_OK;

  for (unsigned i = 0; i < WINDOW; ++i)
    free (w->slots[i].data);
  pthread_mutex_destroy (&w->lock);
  free (w->packed);
  free (w);
  s->writer = NULL;
  return r;
}
