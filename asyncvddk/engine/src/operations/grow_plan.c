/* Which extents of a disk get larger or are added, and whether that is possible at all. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/sparse/sparse.h"
#include "operations/children.h"
#include "operations/grow.h"

/* Sizes of split extents that disk software makes. */
static const uint64_t split_sizes[] = { 4192256, 4194304, 8323072 };

/* 16013 for disks that consist of what nobody but their maker understands. */
static VixError
check_type (const struct link *l)
{
  static const char *const types[] = { "monolithicSparse", "monolithicFlat", "vmfs", "vmfsThin", "vmfsPreallocated",
                                       "vmfsEagerZeroedThick", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                       "2GbMaxExtentSparse", "2GbMaxExtentFlat" };
  const struct descriptor *d = l->descriptor;
  const struct extent_line *last = &d->extents[d->n_extents - 1];

  for (size_t i = 0; i + 1 < d->n_extents; ++i)
    if (last->file && d->extents[i].file && strcmp (last->file, d->extents[i].file) == 0)
      return report (VIX_E_DISK_NOTSUPPORTED, "%s: two extents lie in %s; such a disk cannot grow", l->path, last->file);
  if (last->access == ACCESS_RW && (last->type == EXTENT_FLAT || last->type == EXTENT_VMFS || last->type == EXTENT_SPARSE))
    for (size_t i = 0; i < sizeof types / sizeof *types; ++i)
      if (strcasecmp (d->create_type, types[i]) == 0)
        return VIX_OK;
  return report (VIX_E_DISK_NOTSUPPORTED, "%s: line %zu: disks of type %s with such a last extent cannot grow", l->path,
                 last->line, d->create_type);
}

static VixError
check_chain (const struct link *l)
{
  CLEANUP_FREE char *child = NULL;

  if (link_is_child (l))
    return report (VIX_E_NOT_SUPPORTED, "%s: has a parent, whose size it must keep; clone the disk to make it larger",
                   l->path);
  child = find_child (l);
  if (child)
    return report (VIX_E_NOT_SUPPORTED, "%s: is the parent of %s/%s, which could not be opened any more", l->path, l->dir,
                   child);
  return VIX_OK;
}

/* The largest extent there is, or the size that its maker would split at. */
static uint64_t
split_size (const struct descriptor *d)
{
  uint64_t size = 0;

  if (strncasecmp (d->create_type, "twoGb", 5) != 0 && strncasecmp (d->create_type, "2Gb", 3) != 0)
    return 0;
  for (size_t i = 0; i < d->n_extents; ++i)
    size = d->extents[i].sectors > size ? d->extents[i].sectors : size;
  for (size_t i = 0; d->n_extents == 1 && i < sizeof split_sizes / sizeof *split_sizes; ++i)
    if (split_sizes[i] >= size)
      return split_sizes[i];
  return size;
}

static VixError
check_sizes (const struct growth *g)
{
  const struct descriptor *d = g->link->descriptor;
  const struct extent *last = g->link->extents[d->n_extents - 1];
  const uint64_t rest = g->capacity - d->capacity - (g->last - last->sectors);

  if (g->split > 0 && (rest + g->split - 1) / g->split > DESCRIPTOR_MAX_EXTENTS - d->n_extents)
    return report (VIX_E_FILE_TOO_BIG, "%s: would be split into more than %u files; clone it to a flat disk",
                   g->link->path, DESCRIPTOR_MAX_EXTENTS);
  return g->sparse && g->last > last->sectors ? sparse_check_growth (last, g->last) : VIX_OK;
}

VixError
plan_growth (struct growth *g)
{
  const struct descriptor *d = g->link->descriptor;
  const struct extent_line *last = &d->extents[d->n_extents - 1];
  const uint64_t added = g->capacity - d->capacity;
  CLEANUP_FREE char *thin = descriptor_ddb_get (d, "thinProvisioned");
  VixError r = check_type (g->link);

  if (r == VIX_OK)
    r = check_chain (g->link);
  if (r != VIX_OK)
    return r;
  g->sparse = last->type == EXTENT_SPARSE;
  g->thin = thin && strcmp (thin, "1") == 0;
  g->split = split_size (d);
  g->last = last->sectors + added;
  if (g->split > 0 && g->last > g->split)
    g->last = g->split;
  g->last_size = g->link->extents[d->n_extents - 1]->file->size;
  return check_sizes (g);
}
