/* Grains in the order of the disk. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_defragment (struct disk *d, struct progress *progress)
{
  (void) d;
  (void) progress;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
