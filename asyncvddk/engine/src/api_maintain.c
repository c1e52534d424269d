/* Exported: creating, deleting and rebuilding local disks. */
#include "api.h"

#include "log.h"

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of disk_create. */
VixError
VixDiskLib_Create (const VixDiskLibConnection connection, const char *path,
                   const VixDiskLibCreateParams *createParams, VixDiskLibProgressFunc progressFunc,
                   void *progressCallbackData)
{
  API_ENTER ();
  if (path == NULL || createParams == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  return disk_create (path, createParams, library_clients_know_sector_sizes (), progressFunc, progressCallbackData);
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of disk_unlink. */
VixError
VixDiskLib_Unlink (VixDiskLibConnection connection, const char *path)
{
  API_ENTER ();
  if (path == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  return c == NULL ? VIX_E_DISK_INVALID_CONNECTION : disk_unlink (path);
}

static VixError
refuse (const char *function)
{
  engine_warn ("%s: the open engine does not support this call", function);
  return VIX_E_NOT_SUPPORTED;
}

static bool
is_handle (VixDiskLibHandle handle)
{
  WITH_HANDLE struct handle *h = handle_get (handle);

  return h != NULL;
}

static bool
is_connection (VixDiskLibConnection connection)
{
  WITH_CONNECTION struct connection *c = connection_get (connection);

  return c != NULL;
}

static VixError
refuse_on_handle (const char *function, VixDiskLibHandle handle)
{
  return is_handle (handle) ? refuse (function) : VIX_E_INVALID_ARG;
}

static VixError
refuse_on_connection (const char *function, VixDiskLibConnection connection)
{
  return is_connection (connection) ? refuse (function) : VIX_E_DISK_INVALID_CONNECTION;
}

VixError
VixDiskLib_CreateChild (VixDiskLibHandle diskHandle, const char *childPath, VixDiskLibDiskType diskType,
                        VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  (void) diskType;
  (void) progressFunc;
  (void) progressCallbackData;
  API_ENTER ();
  return childPath == NULL ? VIX_E_INVALID_ARG : refuse_on_handle (__func__, diskHandle);
}

VixError
VixDiskLib_Grow (VixDiskLibConnection connection, const char *path, VixDiskLibSectorType capacity, Bool updateGeometry,
                 VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  (void) capacity;
  (void) updateGeometry;
  (void) progressFunc;
  (void) progressCallbackData;
  API_ENTER ();
  return path == NULL ? VIX_E_INVALID_ARG : refuse_on_connection (__func__, connection);
}

VixError
VixDiskLib_Shrink (VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  (void) progressFunc;
  (void) progressCallbackData;
  API_ENTER ();
  return refuse_on_handle (__func__, diskHandle);
}

VixError
VixDiskLib_Defragment (VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  (void) progressFunc;
  (void) progressCallbackData;
  API_ENTER ();
  return refuse_on_handle (__func__, diskHandle);
}

VixError
VixDiskLib_Rename (const char *srcFileName, const char *dstFileName)
{
  API_ENTER ();
  return srcFileName == NULL || dstFileName == NULL ? VIX_E_INVALID_ARG : refuse (__func__);
}

VixError
VixDiskLib_Clone (const VixDiskLibConnection dstConnection, const char *dstPath,
                  const VixDiskLibConnection srcConnection, const char *srcPath,
                  const VixDiskLibCreateParams *vixCreateParams, VixDiskLibProgressFunc progressFunc,
                  void *progressCallbackData, Bool overWrite)
{
  (void) vixCreateParams;
  (void) progressFunc;
  (void) progressCallbackData;
  (void) overWrite;
  API_ENTER ();
  if (dstPath == NULL || srcPath == NULL)
    return VIX_E_INVALID_ARG;
  return is_connection (srcConnection) ? refuse_on_connection (__func__, dstConnection) : VIX_E_DISK_INVALID_CONNECTION;
}

VixError
VixDiskLib_IsAttachPossible (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  API_ENTER ();
  return is_handle (child) ? refuse_on_handle (__func__, parent) : VIX_E_INVALID_ARG;
}

VixError
VixDiskLib_Attach (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  API_ENTER ();
  return is_handle (child) ? refuse_on_handle (__func__, parent) : VIX_E_INVALID_ARG;
}

VixError
VixDiskLib_SpaceNeededForClone (VixDiskLibHandle diskHandle, VixDiskLibDiskType cloneDiskType, uint64 *spaceNeeded)
{
  (void) cloneDiskType;
  API_ENTER ();
  return spaceNeeded == NULL ? VIX_E_INVALID_ARG : refuse_on_handle (__func__, diskHandle);
}

VixError
VixDiskLib_CheckRepair (const VixDiskLibConnection connection, const char *filename, Bool repair)
{
  (void) repair;
  API_ENTER ();
  return filename == NULL ? VIX_E_INVALID_ARG : refuse_on_connection (__func__, connection);
}
