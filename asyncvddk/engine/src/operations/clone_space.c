/* What a clone will take: the sizes of the files that disk_clone makes.  Sparse types leave out grains of zeros, so
 * their size is known when all data has been read.  How small a stream becomes is known when it is made: the answer for
 * it is what it takes at most, if nothing can be compressed, and needs no data.
 *
 * A text descriptor names its extents: counted here with the name of the source. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "formats/sparse/sparse.h"
#include "operations/clone.h"
#include "operations/create.h"
#include "operations/operations.h"

/* Sectors in a stream: a grain that zlib makes larger, with its marker; a table with its marker; marker, footer, end. */
#define GRAIN_IN_STREAM (SPARSE_GRAIN_SECTORS + 1)
#define TABLE_IN_STREAM (1 + SPARSE_GTES_PER_GT * 4 / SECTOR_SIZE)
#define TAIL_OF_STREAM 3u

/* Bytes of the text. */
static VixError
descriptor_size (struct disk *d, const struct creation *c, uint64 *bytes)
{
  CLEANUP_FREE char *lines = creation_lines (c);
  CLEANUP_FREE char *text = NULL;
  CLEANUP_FREE char *complete = NULL;
  struct descriptor *descriptor = NULL;
  size_t len = 0;
  VixError r;

  if (lines)
    text = create_descriptor (c, c->kind->create_type, lines, c->kind->thin, &len);
  r = text ? descriptor_parse (d->top->path, text, len, &descriptor) : report_no_memory ();
  if (r == VIX_OK)
    r = clone_metadata (d, descriptor);
  if (r == VIX_OK) {
    complete = descriptor_text (descriptor, &len);
    r = complete ? VIX_OK : report_no_memory ();
  }
  descriptor_free (descriptor);
  *bytes += len;
  return r;
}

/* content_function */
static VixError
count_grains (void *opaque, uint64_t start, uint64_t count, const uint8_t *data)
{
  (void) start;
  (void) data;
  *(uint64 *) opaque += (count + SPARSE_GRAIN_SECTORS - 1) / SPARSE_GRAIN_SECTORS * SPARSE_GRAIN_SECTORS * SECTOR_SIZE;
  return VIX_OK;
}

static VixError
sparse_space (struct disk *d, const struct kind *kind, uint64 *bytes)
{
  const uint64_t capacity = link_sectors (d->top), size = kind->split ? split_sectors (capacity) : capacity;

  for (uint64_t done = 0; done < capacity; done += size)
    *bytes += sparse_empty_sectors (capacity - done < size ? capacity - done : size, !kind->split) * SECTOR_SIZE;
  return clone_content (d, count_grains, bytes, NULL, 0);
}

/* What a stream has so far. */
struct stream_size {
  uint64_t sectors;
  uint64_t next_table; /* those before are counted */
};

/* area_function */
static VixError
count_stream_area (void *opaque, uint64_t start, uint64_t count)
{
  struct stream_size *s = opaque;
  const uint64_t first = start / SPARSE_GRAIN_SECTORS, end = (start + count - 1) / SPARSE_GRAIN_SECTORS + 1;
  const uint64_t table = first / SPARSE_GTES_PER_GT, past = (end - 1) / SPARSE_GTES_PER_GT + 1;

  s->sectors += (end - first) * GRAIN_IN_STREAM;
  s->sectors += (past - (table > s->next_table ? table : s->next_table)) * TABLE_IN_STREAM;
  s->next_table = past;
  return VIX_OK;
}

static VixError
stream_space (struct disk *d, uint64 *bytes)
{
  const uint64_t tables = (link_sectors (d->top) - 1) / (SPARSE_GRAIN_SECTORS * SPARSE_GTES_PER_GT) + 1;
  const uint64_t directory = round_up (4 * tables, SECTOR_SIZE) / SECTOR_SIZE;
  struct stream_size s = { .sectors = SPARSE_GRAIN_SECTORS + 1 + directory + TAIL_OF_STREAM };
  VixError r = clone_areas (d, count_stream_area, &s);

  *bytes = s.sectors * SECTOR_SIZE;
  return r;
}

static VixError
space (struct disk *d, struct creation *c, uint64 *bytes)
{
  const struct kind *kind = c->kind;
  VixError r;

  if (kind->stream)
    return stream_space (d, bytes);
  if (kind->sparse && !kind->split)
    return sparse_space (d, kind, bytes);
  c->name = d->top->name;
  r = creation_set_base (c);
  if (r == VIX_OK)
    r = descriptor_size (d, c, bytes);
  free (c->base);
  if (r == VIX_OK && kind->sparse)
    return sparse_space (d, kind, bytes);
  *bytes += link_sectors (d->top) * SECTOR_SIZE;
  return r;
}

VixError
disk_space_for_clone (struct disk *d, VixDiskLibDiskType type, uint64 *bytes)
{
  DISK_SHARED (d);
  const VixDiskLibCreateParams as_source = { .diskType = type };
  const VixDiskLibCreateParams params = clone_params (d, &as_source);
  struct creation c = { .params = &params, .kind = find_kind (params.diskType) };

  *bytes = 0;
  if (!c.kind)
    return report (VIX_E_NOT_SUPPORTED, "%s: cannot be cloned to disks of type %d", d->top->path, (int) type);
  return space (d, &c, bytes);
}
