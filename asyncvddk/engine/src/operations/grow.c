/* A larger capacity. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_grow (const char *path, uint64 capacity, bool update_geometry, struct progress *progress)
{
  (void) path;
  (void) capacity;
  (void) update_geometry;
  (void) progress;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
