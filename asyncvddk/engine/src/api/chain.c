/* Exported: snapshot chains: new links, joining chains. */
#include "api/api.h"
#include "calls/async.h"
#include "operations/operations.h"

/* VIX_E_INVALID_ARG, VIX_E_OBJECT_IS_BUSY (called inside of one of the handle's callbacks), those of disk_create_child.
 * The parent may be on a server, the child is a local disk: so VDDK's guide puts one on top of a backup.  Requests that were accepted before are finished first: the child stands on what they wrote. */
VixError
VixDiskLib_CreateChild (VixDiskLibHandle diskHandle, const char *childPath, VixDiskLibDiskType diskType,
                        VixDiskLibProgressFunc progressFunc, void *progressCallbackData)
{
  struct progress progress = { progressFunc, progressCallbackData, -1, childPath };

  API_ENTER_SERIAL ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || childPath == NULL)
    return VIX_E_INVALID_ARG;
  if (async_in_callback (h))
    return VIX_E_OBJECT_IS_BUSY;
  LOCAL_PATH (childPath);
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_CREATECHILD_GETINFO_FAILED, VDDK_VIXDISKLIB_VIXDISKLIB_CREATECHILD_FAILED);
  gate_wait (&h->requests);
  return disk_create_child (h->disk, childPath, diskType, &progress);
}

/* One Attach at a time: two threads that attach the same disks the other way round would wait for each other. */
static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;

/* VIX_E_INVALID_ARG, VIX_E_OBJECT_IS_BUSY (called inside of a callback: an Attach may hold the lock and wait for that
 * callback), those of disk_attach_possible.  Locks attach_lock. */
VixError
VixDiskLib_IsAttachPossible (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  API_ENTER ();
  if (async_in_any_callback ())
    return VIX_E_OBJECT_IS_BUSY;
  SCOPED_LOCK (&attach_lock);
  WITH_HANDLE struct handle *p = handle_get (parent);
  WITH_HANDLE struct handle *c = handle_get (child);
  if (p == NULL || c == NULL || p == c)
    return VIX_E_INVALID_ARG;
  return disk_attach_possible (p->disk, c->disk);
}

/* VIX_E_INVALID_ARG, VIX_E_OBJECT_IS_BUSY (called inside of a callback): nothing happened.  Those of
 * disk_attach: the parent's handle can only be closed any more, as after success.  Its calls and requests are waited
 * for.  Locks attach_lock. */
VixError
VixDiskLib_Attach (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  struct disk *disk;

  API_ENTER_SERIAL ();
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_ATTACH_FAIL);
  if (async_in_any_callback ())
    return VIX_E_OBJECT_IS_BUSY;
  SCOPED_LOCK (&attach_lock);
  WITH_HANDLE struct handle *c = handle_get (child);
  struct handle *p = c != NULL && parent != child ? handle_get (parent) : NULL;
  disk = p != NULL ? handle_take_disk (p) : NULL;
  if (disk == NULL)
    return VIX_E_INVALID_ARG;
  gate_wait (&c->requests);
  return disk_attach (disk, c->disk);
}
