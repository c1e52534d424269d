/* Exported: snapshot chains: new links, joining chains. */
#include "api/api.h"
#include "operations/operations.h"

/* VIX_E_INVALID_ARG, those of disk_create_child. */
VixError
VixDiskLib_CreateChild (VixDiskLibHandle diskHandle, const char *childPath, VixDiskLibDiskType diskType,
                        VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, childPath };

  API_ENTER_SERIAL ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || childPath == NULL)
    return VIX_E_INVALID_ARG;
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_CREATECHILD_GETINFO_FAILED, VDDK_VIXDISKLIB_VIXDISKLIB_CREATECHILD_FAILED);
  return disk_create_child (h->disk, childPath, diskType, &progress);
}

/* VIX_E_INVALID_ARG, those of disk_attach_possible. */
VixError
VixDiskLib_IsAttachPossible (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  API_ENTER ();
  WITH_HANDLE struct handle *p = handle_get (parent);
  WITH_HANDLE struct handle *c = handle_get (child);
  if (p == NULL || c == NULL || p == c)
    return VIX_E_INVALID_ARG;
  return disk_attach_possible (p->disk, c->disk);
}

VixError
VixDiskLib_Attach (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  API_ENTER_SERIAL ();
  WITH_HANDLE struct handle *p = handle_get (parent);
  WITH_HANDLE struct handle *c = handle_get (child);
  if (p == NULL || c == NULL || p == c)
    return VIX_E_INVALID_ARG;
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_ATTACH_FAIL);
  return disk_attach (p->disk, c->disk);
}
