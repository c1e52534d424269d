#include "base/progress.h"

#include "base/io.h"

VixError
progress_tell (struct progress *p, int percent)
{
  if (!p->function || percent <= p->told)
    return VIX_OK;
  p->told = percent;
  if (p->function (p->data, percent))
    return VIX_OK;
  return report (VIX_E_CANCELLED, "%s: cancelled by the caller at %d %%", p->what, percent);
}
