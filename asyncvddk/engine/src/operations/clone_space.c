/* What a clone will take. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_space_for_clone (struct disk *d, VixDiskLibDiskType type, uint64 *bytes)
{
  (void) d;
  (void) type;
  (void) bytes;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
