/* Checking and repairing. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_check (const char *path, bool repair)
{
  (void) path;
  (void) repair;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
