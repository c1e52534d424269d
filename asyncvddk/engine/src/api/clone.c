/* Exported: copies of disks. */
#include "api/api.h"

#include <string.h>

#include "operations/operations.h"

/* Both disks' files; on a server the type is one that its datastores have, preallocated unless thin is asked for. */
struct clone {
  char *to, *from; /* malloc'ed */
  VixDiskLibCreateParams params;
};

/* VIX_OK, or what a client of VixDiskLib_SetInjectedFault wants. */
static VixError
inject_clone (const struct connection *to, const struct connection *from)
{
  VixError r = VIX_OK;

  if (to->server != NULL)
    r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_NO_SPACE, VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_START_SESSION_FAIL,
                VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_FAIL, VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_OPEN_FAIL,
                VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_FILEEXIST);
  if (r == VIX_OK && from->server != NULL)
    r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_GETFILE_STARTSESSION_FAIL);
  if (r == VIX_OK && to->server == NULL && from->server == NULL)
    r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_DISKLIB_CLONE_FAILED, VDDK_VIXDISKLIB_VIXDISKLIB_CLONELOCAL_OPEN_FAIL);
  return r;
}

static VixError
find_both (struct clone *c, const struct connection *to, const char *to_path, const struct connection *from,
           const char *from_path)
{
  VixError r = connection_find_disk (from, from_path, true, &c->from);

  if (r == VIX_OK)
    r = connection_find_disk (to, to_path, false, &c->to);
  if (to->server != NULL && c->params.diskType != VIXDISKLIB_DISK_VMFS_THIN)
    c->params.diskType = VIXDISKLIB_DISK_VMFS_FLAT;
  return r;
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, those of connection_find_disk and disk_clone. */
VixError
VixDiskLib_Clone (const VixDiskLibConnection dstConnection, const char *dstPath,
                  const VixDiskLibConnection srcConnection, const char *srcPath,
                  const VixDiskLibCreateParams *vixCreateParams, VixDiskLibProgressFunc progressFunc,
                  void *progressCallbackData, Bool overWrite)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, dstPath };
  struct clone clone = { 0 };
  VixError r;

  API_ENTER_SERIAL ();
  if (dstPath == NULL || srcPath == NULL || vixCreateParams == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *to = connection_get (dstConnection);
  WITH_CONNECTION struct connection *from = connection_get (srcConnection);
  if (to == NULL || from == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  r = inject_clone (to, from);
  if (r != VIX_OK)
    return r;
  memcpy (&clone.params, vixCreateParams,
          library_clients_know_sector_sizes () ? sizeof clone.params : offsetof (VixDiskLibCreateParams, logicalSectorSize));
  r = find_both (&clone, to, dstPath, from, srcPath);
  if (r == VIX_OK)
    r = disk_clone (clone.to, clone.from, connection_folders (from), &clone.params, overWrite != FALSE, &progress);
  free (clone.to);
  free (clone.from);
  return r;
}

/* VIX_E_INVALID_ARG, those of disk_space_for_clone. */
VixError
VixDiskLib_SpaceNeededForClone (VixDiskLibHandle diskHandle, VixDiskLibDiskType cloneDiskType, uint64 *spaceNeeded)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || spaceNeeded == NULL)
    return VIX_E_INVALID_ARG;
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_SPACENEEDEDFORCLONE_FAIL);
  return disk_space_for_clone (h->disk, cloneDiskType, spaceNeeded);
}
