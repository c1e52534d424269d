/* Copying a disk into another type. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_clone (const char *to, const char *from, const VixDiskLibCreateParams *p, bool has_sector_sizes, bool overwrite,
            struct progress *progress)
{
  (void) to;
  (void) from;
  (void) p;
  (void) has_sector_sizes;
  (void) overwrite;
  (void) progress;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
