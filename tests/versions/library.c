/* A library of one generation of the interface, for tests of what is above it: VDDK_GENERATION chooses layouts and
 * functions, LIBRARY_VERSION is what it calls itself, LIBRARY_MAJOR and LIBRARY_MINOR what InitEx takes at most.  PLAIN
 * leaves out what can be done without (InitEx, ConnectEx, asynchronous calls, the list of transport modes), QUIET the version
 * line.
 *
 * Every structure that it hands out ends where memory ends: who reads or writes fields of a later generation crashes.
 * The names of the functions that were called are kept in a journal.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vixDiskLib.h"

#define EXPORT __attribute__ ((visibility ("default")))
#define SECTORS 4096ull
#define CALLED note (__func__ + strlen ("VixDiskLib_"))

/* Functions that succeed and do nothing but tell their progress. */
#define NOTHING(name, args) EXPORT VixError VixDiskLib_##name args { CALLED; return VIX_OK; }
#define PROGRESS(name, args) EXPORT VixError VixDiskLib_##name args { CALLED; progress (data, 100); return VIX_OK; }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char journal[1 << 16], created[256];
static uint8 disk[SECTORS * 512];
static VixDiskLibConnectParams kept; /* strings included, of the last connection */

static void
note (const char *name)
{
  pthread_mutex_lock (&lock);
  strcat (strcat (journal, name), " ");
  pthread_mutex_unlock (&lock);
}

/* For the test: what was called since the last question. */
EXPORT const char *
library_journal (void)
{
  static char told[sizeof journal];

  pthread_mutex_lock (&lock);
  strcpy (told, journal);
  journal[0] = '\0';
  pthread_mutex_unlock (&lock);
  return told;
}

/* For the test: what Create read from its parameters. */
EXPORT const char *
library_created (void)
{
  return created;
}

/* Zeroed memory whose last byte is the last one before a page that cannot be touched. */
static void *
at_the_edge (size_t size)
{
  const size_t page = (size_t) sysconf (_SC_PAGESIZE), room = (size + page - 1) / page * page;
  char *start = mmap (NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (start == MAP_FAILED || mprotect (start + room, page, PROT_NONE) != 0)
    abort ();
  return start + room - size;
}

/* What at_the_edge gave, of at most a page. */
static void
free_edge (void *memory)
{
  const uintptr_t page = (uintptr_t) sysconf (_SC_PAGESIZE);

  if (memory != NULL)
    munmap ((void *) ((uintptr_t) memory / page * page), 2 * page);
}

static void
say (VixDiskLibGenericLogFunc *log, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  log (format, args);
  va_end (args);
}

static VixError
init (uint32 major, uint32 minor, VixDiskLibGenericLogFunc *log)
{
  if (major > LIBRARY_MAJOR || (major == LIBRARY_MAJOR && minor > LIBRARY_MINOR))
    return VIX_E_NOT_SUPPORTED;
#ifndef QUIET
  say (log, "VMware VixDiskLib (%s) Release build-1", LIBRARY_VERSION);
#else
  say (log, "no word of the version");
#endif
  return VIX_OK;
}

#ifndef PLAIN
EXPORT VixError
VixDiskLib_InitEx (uint32 major, uint32 minor, VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn,
                   VixDiskLibGenericLogFunc *panic, const char *folder, const char *config)
{
  CALLED;
  return init (major, minor, log);
}
#endif

EXPORT VixError
VixDiskLib_Init (uint32 major, uint32 minor, VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn,
                 VixDiskLibGenericLogFunc *panic, const char *folder)
{
  CALLED;
  return init (major, minor, log);
}

EXPORT void
VixDiskLib_Exit (void)
{
  CALLED;
}

#ifndef PLAIN
EXPORT const char *
VixDiskLib_ListTransportModes (void)
{
  CALLED;
  return "file:san:hotadd:nbdssl:nbd";
}
#endif

/* Two leftovers are removed, one stays.  A machine is not wanted here. */
EXPORT VixError
VixDiskLib_Cleanup (const VixDiskLibConnectParams *params, uint32 *cleaned, uint32 *remaining)
{
  CALLED;
  if (params->vmxSpec != NULL || params->serverName == NULL)
    return VIX_E_INVALID_ARG;
  *cleaned = 2;
  *remaining = 1;
  return VIX_E_FAIL;
}

EXPORT char *
VixDiskLib_GetErrorText (VixError code, const char *locale)
{
  char text[100];

  CALLED;
  snprintf (text, sizeof text, "text of %s for %lu", LIBRARY_VERSION, code);
  return strdup (text);
}

EXPORT void
VixDiskLib_FreeErrorText (char *text)
{
  CALLED;
  free (text);
}

#if VDDK_GENERATION >= 60700
EXPORT VixDiskLibConnectParams *
VixDiskLib_AllocateConnectParams (void)
{
  CALLED;
  return at_the_edge (sizeof (VixDiskLibConnectParams));
}
#endif

EXPORT void
VixDiskLib_FreeConnectParams (VixDiskLibConnectParams *params)
{
  CALLED;
  free_edge (params);
}

/* The strings stay the connection's: this library is for one, and for tests. */
EXPORT VixError
VixDiskLib_GetConnectParams (const VixDiskLibConnection connection, VixDiskLibConnectParams **params)
{
  CALLED;
  *params = at_the_edge (sizeof **params);
  **params = kept;
  return VIX_OK;
}

static char *
copy (const char *text)
{
  return text != NULL ? strdup (text) : NULL; /* never freed: the process is a test's */
}

static VixError
connect (const VixDiskLibConnectParams *params, VixDiskLibConnection *connection)
{
  *connection = (VixDiskLibConnection) disk;
  if (params == NULL)
    return VIX_OK;
  kept = *params;
  kept.vmxSpec = copy (params->vmxSpec);
  kept.serverName = copy (params->serverName);
  kept.thumbPrint = copy (params->thumbPrint);
  kept.creds.sessionId.cookie = copy (params->creds.sessionId.cookie);
  kept.creds.sessionId.userName = copy (params->creds.sessionId.userName);
  if (params->credType == VIXDISKLIB_CRED_SESSIONID)
    kept.creds.sessionId.key = copy (params->creds.sessionId.key);
#if VDDK_GENERATION >= 60700
  kept.spec.vStorageObjSpec.id = copy (params->spec.vStorageObjSpec.id);
  kept.spec.vStorageObjSpec.datastoreMoRef = copy (params->spec.vStorageObjSpec.datastoreMoRef);
  if (params->specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT)
    kept.spec.vStorageObjSpec.ssId = copy (params->spec.vStorageObjSpec.ssId);
#endif
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_Connect (const VixDiskLibConnectParams *params, VixDiskLibConnection *connection)
{
  CALLED;
  return connect (params, connection);
}

#ifndef PLAIN
EXPORT VixError
VixDiskLib_ConnectEx (const VixDiskLibConnectParams *params, Bool read_only, const char *snapshot, const char *modes,
                      VixDiskLibConnection *connection)
{
  CALLED;
  return connect (params, connection);
}
#endif

NOTHING (Disconnect, (VixDiskLibConnection connection))
NOTHING (PrepareForAccess, (const VixDiskLibConnectParams *params, const char *identity))
NOTHING (EndAccess, (const VixDiskLibConnectParams *params, const char *identity))

static bool
is_read_only (VixDiskLibHandle handle)
{
  return handle != (VixDiskLibHandle) disk;
}

EXPORT VixError
VixDiskLib_Open (const VixDiskLibConnection connection, const char *path, uint32 flags, VixDiskLibHandle *handle)
{
  CALLED;
  *handle = NULL;
  if (strstr (path, "missing") != NULL)
    return VIX_E_FILE_NOT_FOUND;
  *handle = (VixDiskLibHandle) (disk + ((flags & VIXDISKLIB_FLAG_OPEN_READ_ONLY) != 0));
  return VIX_OK;
}

NOTHING (Close, (VixDiskLibHandle handle))

EXPORT const char *
VixDiskLib_GetTransportMode (VixDiskLibHandle handle)
{
  CALLED;
  return "file";
}

EXPORT VixError
VixDiskLib_GetInfo (VixDiskLibHandle handle, VixDiskLibInfo **info)
{
  CALLED;
  *info = at_the_edge (sizeof **info);
  **info = (VixDiskLibInfo){ .capacity = SECTORS, .adapterType = VIXDISKLIB_ADAPTER_IDE, .numLinks = 1, .uuid = "60 00" };
#if VDDK_GENERATION >= 70000
  (*info)->logicalSectorSize = 512;
  (*info)->physicalSectorSize = 4096;
#endif
  return VIX_OK;
}

EXPORT void
VixDiskLib_FreeInfo (VixDiskLibInfo *info)
{
  CALLED;
  free_edge (info);
}

#if VDDK_GENERATION >= 60700
/* The first chunk of what is asked for is allocated. */
EXPORT VixError
VixDiskLib_QueryAllocatedBlocks (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count,
                                 VixDiskLibSectorType chunk, VixDiskLibBlockList **list)
{
  CALLED;
  *list = at_the_edge (sizeof **list);
  **list = (VixDiskLibBlockList){ .numBlocks = 1, .blocks = { { start, chunk } } };
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_FreeBlockList (VixDiskLibBlockList *list)
{
  CALLED;
  free_edge (list);
  return VIX_OK;
}
#endif

static VixError
transfer (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *to, const uint8 *from)
{
  if (start + count > SECTORS)
    return VIX_E_DISK_OUTOFRANGE;
  if (from != NULL && is_read_only (handle))
    return VIX_E_FILE_ACCESS_ERROR;
  if (from != NULL)
    memcpy (disk + start * 512, from, count * 512);
  else
    memcpy (to, disk + start * 512, count * 512);
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_Read (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *buffer)
{
  CALLED;
  return transfer (handle, start, count, buffer, NULL);
}

EXPORT VixError
VixDiskLib_Write (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, const uint8 *buffer)
{
  CALLED;
  return transfer (handle, start, count, NULL, buffer);
}

#ifndef PLAIN
EXPORT VixError
VixDiskLib_ReadAsync (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *buffer,
                      VixDiskLibCompletionCB callback, void *data)
{
  CALLED;
  callback (data, transfer (handle, start, count, buffer, NULL));
  return VIX_ASYNC;
}

EXPORT VixError
VixDiskLib_WriteAsync (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count,
                       const uint8 *buffer, VixDiskLibCompletionCB callback, void *data)
{
  CALLED;
  callback (data, transfer (handle, start, count, NULL, buffer));
  return VIX_ASYNC;
}

NOTHING (Wait, (VixDiskLibHandle handle))
#endif

NOTHING (Flush, (VixDiskLibHandle handle))

/* Texts of the disk database: to buffer if it has the room, else the room that it needs. */
static VixError
answer (const char *text, size_t length, char *buffer, size_t room, size_t *needed)
{
  if (needed != NULL)
    *needed = length;
  if (room < length)
    return VIX_E_BUFFER_TOOSMALL;
  memcpy (buffer, text, length);
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_ReadMetadata (VixDiskLibHandle handle, const char *key, char *buffer, size_t room, size_t *needed)
{
  CALLED;
  return strcmp (key, "uuid") == 0 ? answer ("60 00", 6, buffer, room, needed) : VIX_E_DISK_KEY_NOTFOUND;
}

NOTHING (WriteMetadata, (VixDiskLibHandle handle, const char *key, const char *value))

EXPORT VixError
VixDiskLib_GetMetadataKeys (VixDiskLibHandle handle, char *keys, size_t room, size_t *needed)
{
  CALLED;
  return answer ("uuid\0", 6, keys, room, needed);
}

EXPORT VixError
VixDiskLib_Create (const VixDiskLibConnection connection, const char *path, const VixDiskLibCreateParams *params,
                   VixDiskLibProgressFunc progress, void *data)
{
  VixDiskLibCreateParams *own = at_the_edge (sizeof *own);

  CALLED;
  *own = *params;
#if VDDK_GENERATION >= 70000
  snprintf (created, sizeof created, "%zu bytes: %d %d %d %lu, %u %u", sizeof *own, own->diskType, own->adapterType,
            own->hwVersion, own->capacity, own->logicalSectorSize, own->physicalSectorSize);
#else
  snprintf (created, sizeof created, "%zu bytes: %d %d %d %lu", sizeof *own, own->diskType, own->adapterType,
            own->hwVersion, own->capacity);
#endif
  free_edge (own);
  progress (data, 100);
  return VIX_OK;
}

PROGRESS (CreateChild, (VixDiskLibHandle handle, const char *path, VixDiskLibDiskType type,
                        VixDiskLibProgressFunc progress, void *data))
NOTHING (Unlink, (VixDiskLibConnection connection, const char *path))
PROGRESS (Grow, (VixDiskLibConnection connection, const char *path, VixDiskLibSectorType capacity, Bool geometry,
                 VixDiskLibProgressFunc progress, void *data))
PROGRESS (Shrink, (VixDiskLibHandle handle, VixDiskLibProgressFunc progress, void *data))
PROGRESS (Defragment, (VixDiskLibHandle handle, VixDiskLibProgressFunc progress, void *data))
NOTHING (Rename, (const char *from, const char *to))

EXPORT VixError
VixDiskLib_Clone (const VixDiskLibConnection to_connection, const char *to, const VixDiskLibConnection from_connection,
                  const char *from, const VixDiskLibCreateParams *params, VixDiskLibProgressFunc progress, void *data,
                  Bool overwrite)
{
  CALLED;
  progress (data, 100);
  return VIX_OK;
}

NOTHING (IsAttachPossible, (VixDiskLibHandle parent, VixDiskLibHandle child))
NOTHING (Attach, (VixDiskLibHandle parent, VixDiskLibHandle child))

EXPORT VixError
VixDiskLib_SpaceNeededForClone (VixDiskLibHandle handle, VixDiskLibDiskType type, uint64 *space)
{
  CALLED;
  *space = 12345;
  return VIX_OK;
}

NOTHING (CheckRepair, (const VixDiskLibConnection connection, const char *path, Bool repair))
