/* Grains in the order of the disk, each extent by itself.  The content stays, and with it the content id. */
#include "operations/compact.h"
#include "operations/operations.h"

VixError
disk_defragment (struct disk *d, struct progress *progress)
{
  const struct compaction job = { .sort = true };
  bool unknown;
  const size_t n = count_compactable (d, &unknown);
  VixError r;

  if (n > 0)
    return compact_disk (d, &job, progress);
  if (unknown)
    return report (VIX_E_NOT_SUPPORTED, "%s: disks of this format are only read", d->top->path);
  r = progress_tell (progress, 0); /* flat extents are in order */
  return r == VIX_OK ? progress_tell (progress, 100) : r;
}
