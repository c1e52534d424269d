/* VixDiskLib_CheckRepair: one link of a chain, extent by extent.  Nothing is repaired unless everything can be. */
#define _GNU_SOURCE
#include "base/log.h"
#include "disk/link.h"
#include "formats/sparse/check.h"
#include "operations/operations.h"

#define ULL(n) ((unsigned long long) (n))

/* Findings that are told one by one. */
#define MAX_LINES 25

/* A format that is only read: all of its tables are looked at. */
static VixError
check_by_map (struct extent *e, struct findings *f)
{
  VixError r = VIX_OK;

  for (uint64_t start = 0; r == VIX_OK && start < e->sectors;) {
    struct run run = { .count = 0 };

    r = e->ops->map (e, start, e->sectors - start, false, &run);
    start += run.count;
  }
  if (r != VIX_E_DISK_NEEDSREPAIR && r != VIX_E_HOST_FILE_ERROR_EOF)
    return r;
  finding (f, FOUND_LOSS, "%s: is damaged; extents of this format are only read and cannot be repaired", e->file->path);
  return VIX_OK;
}

static VixError
check_flat (const struct extent_source *source, struct findings *f)
{
  const struct extent_line *line = source->line;
  const uint64_t end = (line->offset + line->sectors) * SECTOR_SIZE, size = source->file->size;

  if (size < end)
    finding (f, FOUND_LOSS, "%s: has %llu bytes, but line %zu of %s needs %llu; the rest was cut off and is lost",
             source->file->path, ULL (size), line->line, source->where, ULL (end));
  return VIX_OK;
}

static VixError
check_extents (const struct link *l, bool repair, struct findings *f)
{
  VixError r = VIX_OK;

  for (size_t i = 0; r == VIX_OK && i < l->n_extents; ++i) {
    struct extent *e = l->extents[i];
    const struct extent_source source = { .file = e->file,
                                          .line = &l->descriptor->extents[i],
                                          .where = l->path,
                                          .embedded = l->embedded_size > 0 };

    if (e->ops->map)
      r = check_by_map (e, f);
    else if (source.line->type == EXTENT_FLAT || source.line->type == EXTENT_VMFS)
      r = check_flat (&source, f);
    else
      r = sparse_check (&source, repair, f);
  }
  return r;
}

/* Repairs, and looks again. */
static VixError
repair_extents (const struct link *l, uint64_t found)
{
  struct findings silent = { 0 }, left = { .room = MAX_LINES };
  VixError r = check_extents (l, true, &silent);

  if (r == VIX_OK)
    r = check_extents (l, false, &left);
  if (r == VIX_OK && findings_total (&left) > 0)
    r = report (VIX_E_DISK_CANTREPAIR, "%s: was repaired, but findings are left: %llu", l->path,
                ULL (findings_total (&left)));
  if (r == VIX_OK)
    engine_warn ("%s: was repaired; findings: %llu", l->path, ULL (found));
  return r;
}

static VixError
check_link (const struct link *l, bool repair)
{
  struct findings f = { .room = MAX_LINES };
  VixError r = check_extents (l, false, &f);
  const uint64_t total = findings_total (&f);

  if (total > MAX_LINES)
    engine_warn ("%s: findings that are not told: %llu", l->path, ULL (total - MAX_LINES));
  if (r != VIX_OK)
    return r;
  r = findings_verdict (&f);
  if (r == VIX_E_DISK_NEEDSREPAIR && repair)
    return repair_extents (l, total);
  if (r == VIX_E_DISK_NEEDSREPAIR)
    return report (r, "%s: needs a repair; findings: %llu", l->path, ULL (total));
  if (r == VIX_E_DISK_CANTREPAIR)
    return report (r, "%s: cannot be repaired, nothing was changed; findings: %llu, without remedy: %llu", l->path,
                   ULL (total), ULL (f.count[FOUND_LOSS]));
  return r;
}

VixError
disk_check (const char *path, bool repair)
{
  struct link *l;
  VixError r = link_open_to_check (path, repair, &l);

  if (r == VIX_E_DISK_NEEDSREPAIR) /* of a format that is only read */
    return report (VIX_E_DISK_CANTREPAIR, "%s: cannot be repaired here", path);
  if (r != VIX_OK)
    return r;
  r = check_link (l, repair);
  link_close (l);
  return r;
}
