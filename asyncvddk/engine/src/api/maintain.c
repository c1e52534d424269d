/* Exported: rebuilding local disks. */
#include "api/api.h"
#include "operations/operations.h"

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of disk_grow. */
VixError
VixDiskLib_Grow (VixDiskLibConnection connection, const char *path, VixDiskLibSectorType capacity, Bool updateGeometry,
                 VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, path };

  API_ENTER_SERIAL ();
  if (path == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  LOCAL_ONLY (c);
  LOCAL_PATH (path);
  return disk_grow (path, capacity, updateGeometry != FALSE, &progress);
}

/* VIX_E_INVALID_ARG, those of disk_shrink. */
VixError
VixDiskLib_Shrink (VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, "shrinking" };

  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL)
    return VIX_E_INVALID_ARG;
  LOCAL_ONLY (h->connection);
  return disk_shrink (h->disk, &progress);
}

/* VIX_E_INVALID_ARG, those of disk_defragment. */
VixError
VixDiskLib_Defragment (VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, "defragmenting" };

  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL)
    return VIX_E_INVALID_ARG;
  LOCAL_ONLY (h->connection);
  return disk_defragment (h->disk, &progress);
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of disk_check. */
VixError
VixDiskLib_CheckRepair (const VixDiskLibConnection connection, const char *filename, Bool repair)
{
  API_ENTER_SERIAL ();
  if (filename == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  LOCAL_ONLY (c);
  LOCAL_PATH (filename);
  return disk_check (filename, repair != FALSE);
}
