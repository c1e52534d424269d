/* Snapshot chains: what a link does not have is looked for in its parent. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk.h"
#include "disk/link.h"

/* Links of a chain that are opened at most. */
#define MAX_LINKS 255

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

/* Path of the parent, malloc'ed: absolute as it is, else from the child's folder.  It is a plain path, never a URL. */
static char *
parent_path (const struct link *l)
{
  const char *hint = l->descriptor->parent_hint;
  char *path;

  if (hint[0] == '/')
    return l->inside ? path_from_host (l->inside, hint) : strdup (hint);
  return asprintf (&path, "%s/%s", l->dir, hint) == -1 ? NULL : path;
}

static VixError
check_hint (const struct link *l)
{
  const char *hint = l->descriptor->parent_hint;

  if (link_is_child (l) && (!hint || !*hint))
    return report (VIX_E_DISK_INVALIDCHAIN,
                   "%s: has parentCID %08x but no parentFileNameHint; its parent cannot be found", l->path,
                   l->descriptor->parent_cid);
  if (!link_is_child (l) && hint && *hint)
    return report (VIX_E_DISK_INVALIDCHAIN, "%s: names the parent \"%s\" but has parentCID ffffffff (no parent)",
                   l->path, hint);
  return VIX_OK;
}

/* What a child promises of its parent. */
static VixError
check_parent (const struct link *top, const struct link *child, const struct link *parent)
{
  if (parent->descriptor->cid != child->descriptor->parent_cid)
    return report (VIX_E_DISK_CID_MISMATCH,
                   "%s: has CID %08x, but its child %s was made when it was %08x; the parent was changed since",
                   parent->path, parent->descriptor->cid, child->path, child->descriptor->parent_cid);
  if (link_sectors (parent) != link_sectors (child))
    return report (VIX_E_DISK_CAPACITY_MISMATCH, "%s: has %llu sectors, its child %s has %llu", parent->path,
                   (unsigned long long) link_sectors (parent), child->path, (unsigned long long) link_sectors (child));
  for (const struct link *l = top; l != parent; l = l->parent)
    if (l->dev == parent->dev && l->ino == parent->ino)
      return report (VIX_E_DISK_INVALIDCHAIN, "%s: is its own ancestor; the chain is a loop", parent->path);
  return VIX_OK;
}

static VixError
open_parent (const struct link *top, struct link *child)
{
  CLEANUP_FREE char *path = parent_path (child);
  VixError r;

  if (!path)
    return report_no_memory ();
  r = link_open_inside (child->inside, path, false, &child->parent);
  if (r != VIX_OK)
    return r == VIX_E_OUT_OF_MEMORY
             ? r
             : report (VIX_E_DISK_OPENPARENT, "%s: its parent %s cannot be opened", child->path, path);
  return check_parent (top, child, child->parent);
}

VixError
chain_open_parents (struct link *l, int *links)
{
  struct link *child = l;
  VixError r = check_hint (l);

  for (*links = 1; r == VIX_OK && link_is_child (child); ++*links) {
    if (*links == MAX_LINKS)
      return report (VIX_E_DISK_TOOMANYREDO, "%s: its chain has more than %d links", l->path, MAX_LINKS);
    r = open_parent (l, child);
    child = child->parent;
    if (r == VIX_OK)
      r = check_hint (child);
  }
  return r;
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
