/* Giving back what holds zeros.  The content stays, and with it the content id. */
#include "operations/compact.h"
#include "operations/operations.h"

/* A child's zeros hide what its parent has. */
VixError
disk_shrink (struct disk *d, struct progress *progress)
{
  const struct compaction job = { .free_zeros = true };
  bool unknown;
  const size_t n = count_compactable (d, &unknown);

  if (link_is_child (d->top))
    return report (VIX_E_DISK_CANTSHRINK, "%s: is a child; only a disk without a parent can be shrunk", d->top->path);
  if (n == 0 && unknown)
    return report (VIX_E_NOT_SUPPORTED, "%s: disks of this format are only read", d->top->path);
  if (n == 0)
    return report (VIX_E_DISK_CANTSHRINK, "%s: has no sparse extents, only those can be shrunk", d->top->path);
  return compact_disk (d, &job, progress);
}
