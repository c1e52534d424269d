/* A new link on top of a disk. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_create_child (struct disk *parent, const char *path, VixDiskLibDiskType type, struct progress *progress)
{
  (void) parent;
  (void) path;
  (void) type;
  (void) progress;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
