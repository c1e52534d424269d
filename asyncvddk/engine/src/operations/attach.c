/* Two chains become one. */
#include "base/io.h"
#include "operations/operations.h"

VixError
disk_attach_possible (const struct disk *parent, const struct disk *child)
{
  (void) parent;
  (void) child;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}

VixError
disk_attach (struct disk *parent, struct disk *child)
{
  (void) parent;
  (void) child;
  return report (VIX_E_NOT_SUPPORTED, "not written yet");
}
