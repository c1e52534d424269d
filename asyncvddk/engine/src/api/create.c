/* Exported: creating, renaming and deleting local disks. */
#include "api/api.h"
#include "operations/operations.h"

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of disk_create. */
VixError
VixDiskLib_Create (const VixDiskLibConnection connection, const char *path,
                   const VixDiskLibCreateParams *createParams, VixDiskLibProgressFunc progressFunc,
                   void *progressCallbackData)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, path };

  API_ENTER_SERIAL ();
  if (path == NULL || createParams == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  LOCAL_ONLY (c);
  LOCAL_PATH (path);
  return disk_create (path, createParams, library_clients_know_sector_sizes (), &progress);
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_NOINIT, those of disk_rename.  Has no connection: local disks only. */
VixError
VixDiskLib_Rename (const char *srcFileName, const char *dstFileName)
{
  API_ENTER_SERIAL ();
  if (srcFileName == NULL || dstFileName == NULL)
    return VIX_E_INVALID_ARG;
  LOCAL_PATH (srcFileName);
  LOCAL_PATH (dstFileName);
  return library_initialised () ? disk_rename (srcFileName, dstFileName) : VIX_E_DISK_NOINIT;
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of disk_unlink. */
VixError
VixDiskLib_Unlink (VixDiskLibConnection connection, const char *path)
{
  API_ENTER_SERIAL ();
  if (path == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  LOCAL_ONLY (c);
  LOCAL_PATH (path);
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_UNLINK_FILENOTEXIST);
  return disk_unlink (path);
}
