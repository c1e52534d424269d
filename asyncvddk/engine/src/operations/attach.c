/* Two chains become one: the child that could not find its parent, or was not to look for it, gets it from the client. */
#include "disk/disk_private.h"
#include "operations/operations.h"

static struct link *
bottom_of (const struct disk *d)
{
  struct link *l = d->top;

  while (l->parent)
    l = l->parent;
  return l;
}

/* No file may be a link of both chains: the one would be its own ancestor. */
static VixError
check_distinct (const struct disk *parent, const struct disk *child)
{
  for (const struct link *p = parent->top; p; p = p->parent)
    for (const struct link *c = child->top; c; c = c->parent)
      if (p->dev == c->dev && p->ino == c->ino)
        return report (VIX_E_DISK_INVALIDCHAIN, "%s: is in both chains", p->path);
  return VIX_OK;
}

static bool
is_hosted_sparse (const struct link *l)
{
  return l->descriptor->extents[0].type == EXTENT_SPARSE;
}

/* Both disks are the caller's alone. */
static VixError
check_attach (const struct disk *parent, const struct disk *child)
{
  const struct link *bottom = bottom_of (child);
  VixError r;

  if (atomic_load (&parent->in_steps) || atomic_load (&child->in_steps))
    return report (VIX_E_OBJECT_IS_BUSY, "%s: it or the parent is being shrunk or defragmented", child->top->path);
  if (!link_is_child (bottom))
    return report (VIX_E_DISK_ATTACH_ROOTLINK,
                   "%s: is no child, or all of its parents are open already; nothing can be attached below it",
                   child->top->path);
  r = check_distinct (parent, child);
  if (r == VIX_OK && is_hosted_sparse (bottom))
    r = link_check_parent_type (parent->top, bottom->path);
  if (r == VIX_OK)
    r = link_compare_parent (bottom, parent->top);
  if (r == VIX_OK && parent->links > CHAIN_MAX_LINKS - child->links)
    r = report (VIX_E_DISK_TOOMANYREDO, "%s: the chain would have %d links, at most %d are possible", child->top->path,
                parent->links + child->links, CHAIN_MAX_LINKS);
  return r;
}

VixError
disk_attach_possible (struct disk *parent, struct disk *child)
{
  VixError r;

  disk_exclusive_begin (child);
  disk_exclusive_begin (parent);
  r = check_attach (parent, child);
  disk_exclusive_end (parent);
  disk_exclusive_end (child);
  return r;
}

VixError
disk_attach (struct disk *parent, struct disk *child)
{
  VixError r, closed;

  disk_exclusive_begin (child);
  r = check_attach (parent, child);
  if (r == VIX_OK && parent->top->writable)
    r = link_flush (parent->top);
  if (r == VIX_OK) {
    bottom_of (child)->parent = parent->top;
    child->links += parent->links;
    child->partial = parent->partial;
    parent->top = NULL;
  }
  disk_exclusive_end (child);
  closed = disk_close (parent);
  return r == VIX_OK ? closed : r;
}
