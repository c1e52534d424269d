/* Other names for the files of a disk. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_rename (const char *from, const char *to)
{
  (void) from;
  (void) to;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
