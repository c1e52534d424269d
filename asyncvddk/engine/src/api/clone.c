/* Exported: copies of disks. */
#include "api/api.h"
#include "operations/operations.h"

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of disk_clone. */
VixError
VixDiskLib_Clone (const VixDiskLibConnection dstConnection, const char *dstPath,
                  const VixDiskLibConnection srcConnection, const char *srcPath,
                  const VixDiskLibCreateParams *vixCreateParams, VixDiskLibProgressFunc progressFunc,
                  void *progressCallbackData, Bool overWrite)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, dstPath };

  API_ENTER ();
  if (dstPath == NULL || srcPath == NULL || vixCreateParams == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *to = connection_get (dstConnection);
  WITH_CONNECTION struct connection *from = connection_get (srcConnection);
  if (to == NULL || from == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  return disk_clone (dstPath, srcPath, vixCreateParams, library_clients_know_sector_sizes (), overWrite != FALSE,
                     &progress);
}

/* VIX_E_INVALID_ARG, those of disk_space_for_clone. */
VixError
VixDiskLib_SpaceNeededForClone (VixDiskLibHandle diskHandle, VixDiskLibDiskType cloneDiskType, uint64 *spaceNeeded)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || spaceNeeded == NULL)
    return VIX_E_INVALID_ARG;
  return disk_space_for_clone (h->disk, cloneDiskType, spaceNeeded);
}
