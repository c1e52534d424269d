/* A library with VixDiskLib's ABI over 1 MiB of memory, for tests of what is above it: every call is counted, can be
 * told to fail, and can be held at a gate until the test lets it go; what is opened and given out is watched.
 *
 * Compiled with STUB_ASYNC it offers ReadAsync, WriteAsync and Wait, too.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "stub_control.h"

#define MEMORY_SECTORS 2048ull

static uint8 memory[MEMORY_SECTORS * 512];
static uint64 capacity = MEMORY_SECTORS, allocated_sectors = MEMORY_SECTORS, sectors_asked;
static VixDiskLibConnectParams *last_params;                /* of ConnectEx, as the client's memory is now */

/* For the test: forget everything. */
EXPORT void
stub_reset (void)
{
  stub_forget ();
  memset (memory, 0, sizeof memory);
  forget_database ();
  capacity = allocated_sectors = MEMORY_SECTORS;
  sectors_asked = 0;
  last_params = NULL;
}

/* A disk larger than the memory: what lies behind is neither read nor written, only counted. */
EXPORT void
stub_capacity (uint64 sectors)
{
  capacity = sectors;
}

EXPORT uint64
stub_sectors (void)
{
  return sectors_asked;
}

/* What QueryAllocatedBlocks tells of: the first so many sectors. */
EXPORT void
stub_allocated (uint64 sectors)
{
  allocated_sectors = sectors;
}

EXPORT const VixDiskLibConnectParams *
stub_params (void)
{
  return last_params;
}

EXPORT VixError
VixDiskLib_InitEx (uint32 major, uint32 minor, VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn,
                   VixDiskLibGenericLogFunc *panic, const char *dir, const char *config)
{
  VixError error;

  (void) major, (void) minor, (void) panic, (void) dir, (void) config;
  say_to (log, warn);
  error = enter (CALL_InitEx);
  if (!error)
    library_runs (true);
  return error;
}

EXPORT void
VixDiskLib_Exit (void)
{
  enter (CALL_Exit);
  library_runs (false);
  say_to (NULL, NULL);
}

EXPORT const char *
VixDiskLib_ListTransportModes (void)
{
  return "file:nbdssl:nbd";
}

EXPORT char *
VixDiskLib_GetErrorText (VixError code, const char *locale)
{
  (void) code, (void) locale;
  given (1);
  return strdup ("the stub was told to fail");
}

EXPORT void
VixDiskLib_FreeErrorText (char *text)
{
  given (-1);
  free (text);
}

EXPORT VixDiskLibConnectParams *
VixDiskLib_AllocateConnectParams (void)
{
  given (1);
  return calloc (1, sizeof (VixDiskLibConnectParams));
}

EXPORT void
VixDiskLib_FreeConnectParams (VixDiskLibConnectParams *params)
{
  given (-1);
  free (params);
}

EXPORT VixError
VixDiskLib_GetConnectParams (const VixDiskLibConnection connection, VixDiskLibConnectParams **params)
{
  VixError error = enter (CALL_GetConnectParams);

  object_use (connection, CONNECTION, CALL_GetConnectParams);
  *params = error ? NULL : VixDiskLib_AllocateConnectParams ();
  return error;
}

EXPORT VixError
VixDiskLib_Cleanup (const VixDiskLibConnectParams *params, uint32 *cleaned, uint32 *remaining)
{
  (void) params;
  *cleaned = 3;
  *remaining = 2;
  return enter (CALL_Cleanup);
}

EXPORT VixError
VixDiskLib_PrepareForAccess (const VixDiskLibConnectParams *params, const char *identity)
{
  VixError error = enter (CALL_PrepareForAccess);

  (void) params, (void) identity;
  if (!error)
    access_locked (true);
  return error;
}

EXPORT VixError
VixDiskLib_EndAccess (const VixDiskLibConnectParams *params, const char *identity)
{
  (void) params, (void) identity;
  access_locked (false);
  return enter (CALL_EndAccess);
}

EXPORT VixError
VixDiskLib_ConnectEx (const VixDiskLibConnectParams *params, Bool read_only, const char *snapshot, const char *modes,
                      VixDiskLibConnection *connection)
{
  VixError error = enter (CALL_ConnectEx);

  (void) read_only, (void) snapshot, (void) modes;
  last_params = (VixDiskLibConnectParams *) params;
  *connection = error ? NULL : object_new (CONNECTION, NULL);
  return error;
}

EXPORT VixError
VixDiskLib_Disconnect (VixDiskLibConnection connection)
{
  object_end (connection, CONNECTION, CALL_Disconnect);
  return enter (CALL_Disconnect);
}

EXPORT VixError
VixDiskLib_Open (const VixDiskLibConnection connection, const char *path, uint32 flags, VixDiskLibHandle *handle)
{
  VixError error = enter (CALL_Open);

  (void) path, (void) flags;
  object_use (connection, CONNECTION, CALL_Open);
  *handle = error ? NULL : object_new (DISK, connection);
  return error;
}

EXPORT VixError
VixDiskLib_Close (VixDiskLibHandle handle)
{
  object_end (handle, DISK, CALL_Close);
#ifdef STUB_ASYNC
  if (requests_in_flight ())
    misused ("requests are in flight", CALL_Close);
#endif
  return enter (CALL_Close);
}

EXPORT const char *
VixDiskLib_GetTransportMode (VixDiskLibHandle handle)
{
  (void) handle;
  return "file";
}

EXPORT VixError
VixDiskLib_GetInfo (VixDiskLibHandle handle, VixDiskLibInfo **info)
{
  VixError error = enter_disk (handle, CALL_GetInfo);

  *info = NULL;
  if (error)
    return error;
  given (1);
  *info = calloc (1, sizeof **info);
  (*info)->capacity = capacity;
  return VIX_OK;
}

EXPORT void
VixDiskLib_FreeInfo (VixDiskLibInfo *info)
{
  given (-1);
  free (info);
}

void
transfer (VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *to, const uint8 *from)
{
  uint64 end = start + count < MEMORY_SECTORS ? start + count : MEMORY_SECTORS;

  __atomic_add_fetch (&sectors_asked, count, __ATOMIC_RELAXED);
  if (start >= end)
    return;
  if (to)
    memcpy (to, memory + start * 512, (end - start) * 512);
  else
    memcpy (memory + start * 512, from, (end - start) * 512);
}

EXPORT VixError
VixDiskLib_Read (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *buffer)
{
  VixError error = enter_disk (handle, CALL_Read);

  if (!error)
    transfer (start, count, buffer, NULL);
  return error;
}

EXPORT VixError
VixDiskLib_Write (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, const uint8 *buffer)
{
  VixError error = enter_disk (handle, CALL_Write);

  if (!error)
    transfer (start, count, NULL, buffer);
  return error;
}

EXPORT VixError
VixDiskLib_QueryAllocatedBlocks (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count,
                                 VixDiskLibSectorType chunk, VixDiskLibBlockList **list)
{
  VixError error = enter_disk (handle, CALL_QueryAllocatedBlocks);
  uint64 end = start + count < allocated_sectors ? start + count : allocated_sectors;

  (void) chunk;
  *list = NULL;
  if (error)
    return error;
  given (1);
  *list = calloc (1, sizeof **list);
  (*list)->numBlocks = start < end;
  (*list)->blocks[0].offset = start;
  (*list)->blocks[0].length = end - start;
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_FreeBlockList (VixDiskLibBlockList *list)
{
  given (-1);
  free (list);
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_Flush (VixDiskLibHandle handle)
{
  return enter_disk (handle, CALL_Flush);
}

EXPORT VixError
VixDiskLib_SpaceNeededForClone (VixDiskLibHandle handle, VixDiskLibDiskType type, uint64 *bytes)
{
  VixError error = enter_disk (handle, CALL_SpaceNeededForClone);

  *bytes = error ? 0 : capacity * 512 + (uint64) type;
  return error;
}
