/* Snapshot chains: what a link does not have is looked for in its parent. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk.h"
#include "disk/link.h"

#define GATHER_MAX 64

/* Reads that meet in the file, to be made with one call: holes of the disk have no place in the file. */
struct gather {
  const struct file *file;
  uint64_t offset, length; /* bytes of the file */
  struct iovec iov[GATHER_MAX];
  int n;
  bool nowait;
};

static VixError
gather_flush (struct gather *g)
{
  VixError r = g->n > 0 ? file_readv (g->file, g->iov, g->n, g->offset, g->nowait) : VIX_OK;

  g->n = 0;
  g->length = 0;
  return r;
}

static VixError
gather_add (struct gather *g, const struct file *f, uint64_t offset, uint8_t *buf, size_t len)
{
  VixError r = VIX_OK;

  if (g->n > 0 && (g->file != f || g->offset + g->length != offset || g->n == GATHER_MAX))
    r = gather_flush (g);
  if (g->n == 0) {
    g->file = f;
    g->offset = offset;
  }
  if (g->n > 0 && (uint8_t *) g->iov[g->n - 1].iov_base + g->iov[g->n - 1].iov_len == buf)
    g->iov[g->n - 1].iov_len += len;
  else
    g->iov[g->n++] = (struct iovec){ buf, len };
  g->length += len;
  return r;
}

/* The first run of [start, start+count) in one link. */
static VixError
map_link (struct link *l, uint64_t start, uint64_t count, bool nowait, struct run *run)
{
  struct extent *e = link_extent (l, start);
  const uint64_t inside = start - e->start;

  run->extent = e;
  run->start = inside;
  return e->ops->map (e, inside, count < e->sectors - inside ? count : e->sectors - inside, nowait, run);
}

static VixError read_link (struct link *l, uint64_t start, uint64_t count, uint8_t *buf, struct gather *g);

static VixError
read_run (struct link *l, uint64_t start, const struct run *run, uint8_t *buf, struct gather *g)
{
  const size_t len = run->count * SECTOR_SIZE;

  if (run->kind == RUN_DATA && run->extent->ops->read)
    return g->nowait ? DISK_WOULD_BLOCK : run->extent->ops->read (run->extent, run, buf);
  if (run->kind == RUN_DATA)
    return gather_add (g, run->extent->file, run->offset, buf, len);
  if (run->kind == RUN_PARENT && l->parent)
    return read_link (l->parent, start, run->count, buf, g);
  memset (buf, 0, len);
  return VIX_OK;
}

static VixError
read_link (struct link *l, uint64_t start, uint64_t count, uint8_t *buf, struct gather *g)
{
  VixError r = VIX_OK;

  while (r == VIX_OK && count > 0) {
    struct run run;

    r = map_link (l, start, count, g->nowait, &run);
    if (r == VIX_OK)
      r = read_run (l, start, &run, buf, g);
    if (r == VIX_OK) {
      start += run.count;
      count -= run.count;
      buf += run.count * SECTOR_SIZE;
    }
  }
  return r;
}

VixError
chain_read (struct link *l, uint64_t start, uint64_t count, uint8_t *buf, bool nowait)
{
  struct gather g = { .nowait = nowait };
  VixError r = read_link (l, start, count, buf, &g);

  return r == VIX_OK ? gather_flush (&g) : r;
}

/* A scan of one extent, whose runs are passed on with the link's sector numbers. */
struct link_scan {
  struct link *link;
  uint64_t offset; /* of the extent in the link */
  scan_function *f;
  void *opaque;
};

static VixError
scan_run (void *opaque, uint64_t start, uint64_t count, enum run_kind kind)
{
  const struct link_scan *c = opaque;

  if (kind == RUN_PARENT && c->link->parent)
    return chain_scan (c->link->parent, c->offset + start, count, c->f, c->opaque);
  return c->f (c->opaque, c->offset + start, count, kind);
}

static VixError
scan_by_map (struct extent *e, uint64_t start, uint64_t count, scan_function *f, void *opaque)
{
  VixError r = VIX_OK;

  while (r == VIX_OK && count > 0) {
    struct run run;

    r = e->ops->map (e, start, count, false, &run);
    if (r == VIX_OK)
      r = f (opaque, start, run.count, run.kind);
    if (r == VIX_OK) {
      start += run.count;
      count -= run.count;
    }
  }
  return r;
}

VixError
chain_scan (struct link *l, uint64_t start, uint64_t count, scan_function *f, void *opaque)
{
  VixError r = VIX_OK;

  while (r == VIX_OK && count > 0) {
    struct extent *e = link_extent (l, start);
    const uint64_t inside = start - e->start, n = count < e->sectors - inside ? count : e->sectors - inside;
    struct link_scan c = { l, e->start, f, opaque };

    r = (e->ops->scan ? e->ops->scan : scan_by_map) (e, inside, n, scan_run, &c);
    start += n;
    count -= n;
  }
  return r;
}

bool
chain_is_partial (const struct link *l)
{
  while (l->parent)
    l = l->parent;
  return link_is_child (l);
}

VixError
chain_close (struct link *l)
{
  VixError r = VIX_OK;

  while (l) {
    struct link *parent = l->parent;
    VixError one = link_close (l);

    r = r == VIX_OK ? one : r;
    l = parent;
  }
  return r;
}
