/* A library with VixDiskLib's ABI over 1 MiB of memory, for tests of what is above it: every call is counted, can be
 * told to fail, and can be held at a gate until the test lets it go.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vixDiskLib.h"

#define EXPORT __attribute__ ((visibility ("default")))
#define SECTORS 2048ull

#define CALLS(X) \
  X (InitEx) X (Exit) X (PrepareForAccess) X (EndAccess) X (ConnectEx) X (Disconnect) X (Open) X (Close) X (GetInfo) \
  X (Read) X (Write) X (QueryAllocatedBlocks) X (Flush) X (Create) X (Unlink)

enum { CALLS_NONE = -1,
#define X(name) CALL_##name,
       CALLS (X)
#undef X
       CALLS_COUNT };

static const char *const names[] = {
#define X(name) #name,
  CALLS (X)
#undef X
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { unsigned calls; VixError fail; int reached, gate; } stub[CALLS_COUNT];
static uint8 memory[SECTORS * 512];
static VixDiskLibGenericLogFunc *warn;

static void
say (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  if (warn)
    warn (format, args);
  va_end (args);
}

/* Count the call, stand at the gate if there is one, and return what the test wants. */
static VixError
enter (int call)
{
  VixError fail;
  int reached, gate;
  char byte = 1;

  pthread_mutex_lock (&lock);
  stub[call].calls++;
  fail = stub[call].fail;
  reached = stub[call].reached;
  gate = stub[call].gate;
  pthread_mutex_unlock (&lock);
  if (gate > 0 && write (reached, &byte, 1) == 1 && read (gate, &byte, 1) != 1)
    abort ();
  if (fail)
    say ("%s says %d times no", names[call], (int) fail);
  return fail;
}

static int
index_of (const char *name)
{
  int i;

  for (i = 0; i < CALLS_COUNT; i++)
    if (strcmp (names[i], name) == 0)
      return i;
  abort ();
}

/* For the test: forget everything. */
EXPORT void
stub_reset (void)
{
  memset (stub, 0, sizeof stub);
  memset (memory, 0, sizeof memory);
}

EXPORT unsigned
stub_calls (const char *name)
{
  return stub[index_of (name)].calls;
}

/* Each call of the function writes a byte to reached and reads one from gate. 0 opens it for good. */
EXPORT void
stub_gate (const char *name, int reached, int gate)
{
  pthread_mutex_lock (&lock);
  stub[index_of (name)].reached = reached;
  stub[index_of (name)].gate = gate;
  pthread_mutex_unlock (&lock);
}

EXPORT void
stub_fail (const char *name, VixError code)
{
  stub[index_of (name)].fail = code;
}

EXPORT VixError
VixDiskLib_InitEx (uint32 major, uint32 minor, VixDiskLibGenericLogFunc *l, VixDiskLibGenericLogFunc *w,
                   VixDiskLibGenericLogFunc *p, const char *dir, const char *config)
{
  (void) major, (void) minor, (void) l, (void) p, (void) dir, (void) config;
  warn = w;
  return enter (CALL_InitEx);
}

EXPORT void
VixDiskLib_Exit (void)
{
  enter (CALL_Exit);
  warn = NULL;
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
  return strdup ("the stub was told to fail");
}

EXPORT void
VixDiskLib_FreeErrorText (char *text)
{
  free (text);
}

EXPORT VixDiskLibConnectParams *
VixDiskLib_AllocateConnectParams (void)
{
  return calloc (1, sizeof (VixDiskLibConnectParams));
}

EXPORT void
VixDiskLib_FreeConnectParams (VixDiskLibConnectParams *params)
{
  free (params);
}

EXPORT VixError
VixDiskLib_PrepareForAccess (const VixDiskLibConnectParams *params, const char *identity)
{
  (void) params, (void) identity;
  return enter (CALL_PrepareForAccess);
}

EXPORT VixError
VixDiskLib_EndAccess (const VixDiskLibConnectParams *params, const char *identity)
{
  (void) params, (void) identity;
  return enter (CALL_EndAccess);
}

EXPORT VixError
VixDiskLib_ConnectEx (const VixDiskLibConnectParams *params, Bool read_only, const char *snapshot, const char *modes,
                      VixDiskLibConnection *connection)
{
  VixError error = enter (CALL_ConnectEx);

  (void) params, (void) read_only, (void) snapshot, (void) modes;
  *connection = error ? NULL : (VixDiskLibConnection) memory;
  return error;
}

EXPORT VixError
VixDiskLib_Disconnect (VixDiskLibConnection connection)
{
  (void) connection;
  return enter (CALL_Disconnect);
}

EXPORT VixError
VixDiskLib_Open (const VixDiskLibConnection connection, const char *path, uint32 flags, VixDiskLibHandle *handle)
{
  VixError error = enter (CALL_Open);

  (void) connection, (void) path, (void) flags;
  *handle = error ? NULL : (VixDiskLibHandle) memory;
  return error;
}

EXPORT VixError
VixDiskLib_Close (VixDiskLibHandle handle)
{
  (void) handle;
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
  VixError error = enter (CALL_GetInfo);

  (void) handle;
  *info = NULL;
  if (error)
    return error;
  *info = calloc (1, sizeof **info);
  (*info)->capacity = SECTORS;
  return VIX_OK;
}

EXPORT void
VixDiskLib_FreeInfo (VixDiskLibInfo *info)
{
  free (info);
}

EXPORT VixError
VixDiskLib_Read (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *buffer)
{
  VixError error = enter (CALL_Read);

  (void) handle;
  if (!error)
    memcpy (buffer, memory + start * 512, count * 512);
  return error;
}

EXPORT VixError
VixDiskLib_Write (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, const uint8 *buffer)
{
  VixError error = enter (CALL_Write);

  (void) handle;
  if (!error)
    memcpy (memory + start * 512, buffer, count * 512);
  return error;
}

EXPORT VixError
VixDiskLib_QueryAllocatedBlocks (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count,
                                 VixDiskLibSectorType chunk, VixDiskLibBlockList **list)
{
  VixError error = enter (CALL_QueryAllocatedBlocks);

  (void) handle, (void) chunk;
  *list = NULL;
  if (error)
    return error;
  *list = calloc (1, sizeof **list);
  (*list)->numBlocks = 1;
  (*list)->blocks[0].offset = start;
  (*list)->blocks[0].length = count;
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_FreeBlockList (VixDiskLibBlockList *list)
{
  free (list);
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_Flush (VixDiskLibHandle handle)
{
  (void) handle;
  return enter (CALL_Flush);
}

EXPORT VixError
VixDiskLib_Create (const VixDiskLibConnection connection, const char *path, const VixDiskLibCreateParams *params,
                   VixDiskLibProgressFunc progress, void *data)
{
  VixError error;

  (void) connection, (void) path, (void) params;
  progress (data, 10);
  error = enter (CALL_Create);
  if (!error)
    progress (data, 100);
  return error;
}

EXPORT VixError
VixDiskLib_Unlink (VixDiskLibConnection connection, const char *path)
{
  (void) connection, (void) path;
  return enter (CALL_Unlink);
}
