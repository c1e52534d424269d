/* A chain as one disk: opening, reading, writing, information, allocated areas. */
#define _GNU_SOURCE
#include "disk/disk.h"

#include <stdlib.h>
#include <string.h>

#include "disk/allocated.h"
#include "disk/disk_private.h"

/* VIXDISKLIB_FLAG_OPEN_UNBUFFERED is a wish that is not followed: direct I/O wants buffers, sectors and grains aligned
 * as the file system likes them, and takes from readers of the same disk the cache that makes them fast.  What is
 * flushed is on storage in any case. */
VixError
disk_open (const char *path, uint32 flags, struct disk **out)
{
  return disk_open_inside (NULL, path, flags, out);
}

VixError
disk_open_inside (const struct folders *inside, const char *path, uint32 flags, struct disk **out)
{
  struct disk *d = calloc (1, sizeof *d);
  VixError r;

  *out = NULL;
  if (!d)
    return report_no_memory ();
  pthread_mutex_init (&d->lock, NULL);
  exclusion_init (&d->exclusion);
  d->links = 1;
  r = link_open_inside (inside, path, !(flags & VIXDISKLIB_FLAG_OPEN_READ_ONLY), &d->top);
  if (r == VIX_OK && !(flags & VIXDISKLIB_FLAG_OPEN_SINGLE_LINK))
    r = chain_open_parents (d->top, &d->links);
  if (r != VIX_OK) {
    disk_close (d);
    return r;
  }
  d->partial = chain_is_partial (d->top);
  *out = d;
  return VIX_OK;
}

VixError
disk_close (struct disk *d)
{
  VixError r = chain_close (d->top);

  while (d->texts) {
    struct text *next = d->texts->next;

    free (d->texts);
    d->texts = next;
  }
  pthread_mutex_destroy (&d->lock);
  exclusion_destroy (&d->exclusion);
  free (d);
  return r;
}

static VixError
check_range (const struct disk *d, uint64 start, uint64 count)
{
  const uint64 capacity = link_sectors (d->top);

  if (count <= capacity && start <= capacity - count)
    return VIX_OK;
  return report (VIX_E_DISK_OUTOFRANGE, "%s: sectors %llu to %llu asked for, the disk has %llu", d->top->path,
                 (unsigned long long) start, (unsigned long long) (start + count - 1), (unsigned long long) capacity);
}

VixError
disk_read (struct disk *d, uint64 start, uint64 count, uint8 *buf, bool nowait)
{
  VixError r;

  if (!exclusion_enter (&d->exclusion, nowait))
    return DISK_WOULD_BLOCK;
  r = check_range (d, start, count);
  if (r == VIX_OK && count > 0)
    r = chain_read (d->top, start, count, buf, nowait);
  exclusion_leave (&d->exclusion);
  return r;
}

/* Takes d->lock. */
static VixError
store_new_cid (struct disk *d)
{
  struct descriptor *changed;
  VixError r = link_edit_descriptor (d->top, &changed);

  if (r == VIX_OK)
    r = descriptor_set_cid (changed, random_cid ());
  if (r == VIX_OK)
    r = link_replace_descriptor (d->top, changed);
  descriptor_free (changed);
  return r;
}

/* Before the first change of content in a session the disk gets a new content id, so that no changed content is ever
 * found under the id that children and backups know.  Takes d->lock. */
static VixError
begin_change (struct disk *d)
{
  VixError r = VIX_OK;

  if (atomic_load (&d->changed))
    return VIX_OK;
  pthread_mutex_lock (&d->lock);
  if (!atomic_load (&d->changed)) {
    r = store_new_cid (d);
    atomic_store (&d->changed, r == VIX_OK);
  }
  pthread_mutex_unlock (&d->lock);
  return r;
}

VixError
disk_settle (struct disk *d, uint32_t *cid)
{
  VixError r = d->top->writable ? link_flush (d->top) : VIX_OK;

  atomic_store (&d->changed, false);
  *cid = d->top->descriptor->cid;
  return r;
}

/* struct backing's read. */
static VixError
read_below (const struct backing *b, uint64_t start, uint64_t count, uint8_t *buf)
{
  return chain_read (b->link, start, count, buf, false);
}

static VixError
write_extents (struct disk *d, uint64_t start, uint64_t count, const uint8_t *buf)
{
  VixError r = VIX_OK;

  while (r == VIX_OK && count > 0) {
    struct extent *e = link_extent (d->top, start);
    const uint64_t inside = start - e->start, n = count < e->sectors - inside ? count : e->sectors - inside;
    const struct backing below = { .read = read_below,
                                   .link = d->top->parent,
                                   .start = e->start,
                                   .missing = d->partial };

    if (!e->ops->write || !e->file->writable)
      return report (VIX_E_FILE_READ_ONLY, "%s: sectors from %llu lie in an extent that cannot be written",
                     d->top->path, (unsigned long long) start);
    r = e->ops->write (e, inside, n, buf, &below);
    start += n;
    count -= n;
    buf += n * SECTOR_SIZE;
  }
  return r;
}

VixError
disk_write (struct disk *d, uint64 start, uint64 count, const uint8 *buf)
{
  DISK_SHARED (d);
  VixError r = check_range (d, start, count);

  if (r == VIX_OK && !d->top->writable)
    r = report (VIX_E_FILE_ACCESS_ERROR, "%s: was opened read-only", d->top->path);
  if (r != VIX_OK || count == 0)
    return r;
  r = begin_change (d);
  return r == VIX_OK ? write_extents (d, start, count, buf) : r;
}

VixError
disk_flush (struct disk *d)
{
  DISK_SHARED (d);
  return d->top->writable ? link_flush (d->top) : VIX_OK;
}

bool
disk_writes_in_order (const struct disk *d)
{
  return d->top->extents[0]->ops->in_order;
}

VixError
disk_allocated (struct disk *d, uint64 start, uint64 count, uint64 chunk,
                bool (*emit) (void *opaque, uint64 off, uint64 len), void *opaque)
{
  DISK_SHARED (d);
  const struct question q = { .link = d->top,
                              .start = start,
                              .count = count,
                              .chunk = chunk,
                              .zeros_count = d->partial };
  VixError r = check_range (d, start, count);

  return r == VIX_OK && count > 0 ? allocated_answer (&q, emit, opaque) : r;
}
