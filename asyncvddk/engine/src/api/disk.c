/* Exported: open disks, their information, metadata and allocated blocks. */
#include "api/api.h"

#include <string.h>

#include "calls/async.h"
#include "base/config.h"
#include "base/log.h"
#include "remote/transport.h"

#define TRANSPORT_AUDIT 3 /* level of the transport's messages; VDDK's default */

#define OPEN_FLAGS                                                                                                       \
  (VIXDISKLIB_FLAG_OPEN_UNBUFFERED | VIXDISKLIB_FLAG_OPEN_SINGLE_LINK | VIXDISKLIB_FLAG_OPEN_READ_ONLY)

/* In the words that tools look for in VDDK's log, and what is behind them. */
static void
log_opened (const struct server *s, const char *path, const char *file, uint32 flags)
{
  const VixDiskLibConnectParams *p = &s->params;
  const unsigned port = p->nfcHostPort != 0 ? p->nfcHostPort : 902;

  if (config_number ("vixDiskLib.transport.LogLevel", TRANSPORT_AUDIT, 0, 1000) < TRANSPORT_AUDIT)
    return;
  if (strcmp (s->transport, TRANSPORT_FILE) == 0)
    engine_log ("Opened '%s' (0x%x)", file, flags);
  else
    engine_log ("Opened 'vpxa-%s://%s@%s:%u' (0x%x), which is %s", s->transport[3] != '\0' ? "nfcssl" : "nfc",
                path != NULL ? path : p->spec.vStorageObjSpec.id, p->serverName, port, flags, file);
}

static bool
is_network (const struct handle *h)
{
  return strcmp (h->transport, TRANSPORT_FILE) != 0;
}

/* What compresses the wire means nothing here. */
static VixError
open_into (struct handle *h, struct connection *c, const char *path, uint32 flags)
{
  struct disk_info info;
  VixError err = connection_find_disk (c, path, true, &h->path);

  if (err != VIX_OK)
    return err;
  flags &= OPEN_FLAGS;
  if (c->read_only)
    flags |= VIXDISKLIB_FLAG_OPEN_READ_ONLY;
  err = disk_open_inside (connection_folders (c), h->path, flags, &h->disk);
  if (err != VIX_OK)
    return err;
  if (c->server != NULL)
    log_opened (c->server, path, h->path, flags);
  h->transport = c->server != NULL ? c->server->transport : TRANSPORT_FILE;
  h->thread = threads_self ();
  disk_get_info (h->disk, &info);
  h->capacity = info.capacity;
  h->connection = c;
  h->read_only = (flags & VIXDISKLIB_FLAG_OPEN_READ_ONLY) != 0;
  return VIX_OK;
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, VIX_E_TOO_MANY_HANDLES, those of connection_find_disk and disk_open.
 * path is NULL, or empty, or the id, for the first-class disk that the connection leads to. */
VixError
VixDiskLib_Open (const VixDiskLibConnection connection, const char *path, uint32 flags, VixDiskLibHandle *diskHandle)
{
  struct handle *h;
  VixError err;

  if (diskHandle != NULL)
    *diskHandle = NULL;
  API_ENTER_SERIAL ();
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_OPENWITHINFO_FAIL);
  if (diskHandle == NULL)
    return VIX_E_INVALID_ARG;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  threads_same (c->thread, __func__, "connection");
  h = handle_new ();
  if (h == NULL)
    return VIX_E_TOO_MANY_HANDLES;
  err = open_into (h, c, path, flags);
  if (err != VIX_OK) {
    handle_discard (h);
    return err;
  }
  *diskHandle = (VixDiskLibHandle) h;
  object_publish (&h->object);
  return VIX_OK;
}

/* VIX_E_INVALID_ARG, VIX_E_OBJECT_IS_BUSY (called inside of one of the handle's callbacks), those of disk_close: the
 * handle is closed then, too, and when the failure is one on demand.  The parent's handle of an Attach is closed, too. */
VixError
VixDiskLib_Close (VixDiskLibHandle diskHandle)
{
  SERIAL_CALL;
  VixError fault = fault_check (__func__), err;
  struct handle *h = handle_get (diskHandle);

  if (h == NULL)
    return handle_release (diskHandle) ? fault : VIX_E_INVALID_ARG;
  if (async_in_callback (h)) {
    handle_put (h);
    return VIX_E_OBJECT_IS_BUSY;
  }
  threads_same (h->thread, __func__, "disk");
  if (fault == VIX_OK && is_network (h))
    fault = inject (VDDK_VIXDISKLIB_ALCBLOCK_CLOSE_NBDCLOSE_FAILED);
  err = handle_close (h);
  return fault != VIX_OK ? fault : err;
}

/* NULL: not an open disk. */
const char *
VixDiskLib_GetTransportMode (VixDiskLibHandle diskHandle)
{
  return handle_transport (diskHandle);
}

/* Copies a string behind the structure; moves *end on.  NULL stays NULL. */
static char *
append (char **end, const char *text)
{
  char *copy = *end;

  if (text == NULL)
    return NULL;
  *end = stpcpy (copy, text) + 1;
  return copy;
}

/* One block of memory with its strings, NULL without memory. */
static VixDiskLibInfo *
copy_info (const struct disk_info *from)
{
  size_t hint = from->parent_hint != NULL ? strlen (from->parent_hint) + 1 : 0;
  size_t uuid = from->uuid != NULL ? strlen (from->uuid) + 1 : 0;
  VixDiskLibInfo *info = malloc (sizeof *info + hint + uuid);
  char *end = (char *) (info + 1);

  if (info == NULL)
    return NULL;
  *info = (VixDiskLibInfo) {
    .biosGeo = { from->bios_cylinders, from->bios_heads, from->bios_sectors },
    .physGeo = { from->cylinders, from->heads, from->sectors },
    .capacity = from->capacity,
    .adapterType = (VixDiskLibAdapterType) from->adapter,
    .numLinks = from->links,
    .parentFileNameHint = append (&end, from->parent_hint),
    .uuid = append (&end, from->uuid),
    .logicalSectorSize = from->logical_sector_size,
    .physicalSectorSize = from->physical_sector_size,
  };
  return info;
}

/* VIX_E_INVALID_ARG, VIX_E_OUT_OF_MEMORY. */
VixError
VixDiskLib_GetInfo (VixDiskLibHandle diskHandle, VixDiskLibInfo **info)
{
  struct disk_info found;

  if (info != NULL)
    *info = NULL;
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || info == NULL)
    return VIX_E_INVALID_ARG;
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_GETINFO_FAILED);
  disk_get_info (h->disk, &found);
  *info = copy_info (&found);
  return *info == NULL ? VIX_E_OUT_OF_MEMORY : VIX_OK;
}

void
VixDiskLib_FreeInfo (VixDiskLibInfo *info)
{
  free (info);
}

/* A list that grows: one block of memory that the client may also release by free. */
struct growing_list {
  VixDiskLibBlockList *list;
  size_t room; /* blocks */
};

/* False: no memory. */
static bool
grow (struct growing_list *blocks)
{
  size_t room = blocks->room == 0 ? 64 : blocks->room * 2;
  VixDiskLibBlockList *list = realloc (blocks->list, offsetof (VixDiskLibBlockList, blocks) + room * sizeof (VixDiskLibBlock));

  if (list == NULL)
    return false;
  if (blocks->list == NULL)
    list->numBlocks = 0;
  blocks->list = list;
  blocks->room = room;
  return true;
}

static bool
add_block (void *opaque, uint64 offset, uint64 length)
{
  struct growing_list *blocks = opaque;
  VixDiskLibBlock *to;

  if (blocks->list->numBlocks == blocks->room && !grow (blocks))
    return false;
  to = blocks->list->blocks + blocks->list->numBlocks++;
  *to = (VixDiskLibBlock) { offset, length };
  return true;
}

/* With openEngine.queryTail the range may end in the disk's last chunk, where other libraries refuse it. */
static bool
query_is_valid (uint64 capacity, uint64 start, uint64 count, uint64 chunk)
{
  uint64 end = capacity;

  if (chunk < VIXDISKLIB_MIN_CHUNK_SIZE || chunk > VIXDISKLIB_MAX_CHUNK_SIZE || (chunk & (chunk - 1)) != 0)
    return false;
  if (start % chunk != 0 || count % chunk != 0 || count / chunk > VIXDISKLIB_MAX_CHUNK_NUMBER)
    return false;
  if (capacity % chunk != 0 && config_switch ("openEngine.queryTail", false))
    end += chunk - capacity % chunk;
  return count <= end && start <= end - count;
}

/* VIX_E_INVALID_ARG, VIX_E_OUT_OF_MEMORY, those of disk_allocated. */
VixError
VixDiskLib_QueryAllocatedBlocks (VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                                 VixDiskLibSectorType numSectors, VixDiskLibSectorType chunkSize,
                                 VixDiskLibBlockList **blockList)
{
  struct growing_list blocks = { NULL, 0 };
  VixError err;

  if (blockList != NULL)
    *blockList = NULL;
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || blockList == NULL || !query_is_valid (h->capacity, startSector, numSectors, chunkSize))
    return VIX_E_INVALID_ARG;
  API_INJECT (VDDK_VIXDISKLIB_ALCBLOCK_OPEN_GETINFO_FAILED, VDDK_VIXDISKLIB_ALCBLOCK_QUERY_ALLOC_FAILED);
  if (is_network (h))
    API_INJECT (VDDK_VIXDISKLIB_ALCBLOCK_QUERY_NBDGETALC_FAILED);
  if (numSectors > h->capacity - startSector)
    numSectors = h->capacity - startSector;
  if (!grow (&blocks))
    return VIX_E_OUT_OF_MEMORY;
  err = disk_allocated (h->disk, startSector, numSectors, chunkSize, add_block, &blocks);
  if (err != VIX_OK)
    free (blocks.list);
  else
    *blockList = blocks.list;
  return err;
}

VixError
VixDiskLib_FreeBlockList (VixDiskLibBlockList *blockList)
{
  free (blockList);
  return fault_check (__func__);
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_KEY_NOTFOUND, VIX_E_BUFFER_TOOSMALL. */
VixError
VixDiskLib_ReadMetadata (VixDiskLibHandle diskHandle, const char *key, char *buf, size_t bufLen, size_t *requiredLen)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || key == NULL)
    return VIX_E_INVALID_ARG;
  API_INJECT (VDDK_VIXDISKLIB_VIXDISKLIB_READMETADATA_FAIL);
  return disk_metadata_read (h->disk, key, buf, buf != NULL ? bufLen : 0, requiredLen);
}

/* VIX_E_INVALID_ARG, VIX_E_FILE_ACCESS_ERROR (read-only), those of disk_metadata_write. */
VixError
VixDiskLib_WriteMetadata (VixDiskLibHandle diskHandle, const char *key, const char *val)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL || key == NULL || val == NULL)
    return VIX_E_INVALID_ARG;
  if (h->read_only)
    return VIX_E_FILE_ACCESS_ERROR;
  return disk_metadata_write (h->disk, key, val);
}

/* VIX_E_INVALID_ARG, VIX_E_BUFFER_TOOSMALL. */
VixError
VixDiskLib_GetMetadataKeys (VixDiskLibHandle diskHandle, char *keys, size_t maxLen, size_t *requiredLen)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL)
    return VIX_E_INVALID_ARG;
  return disk_metadata_keys (h->disk, keys, keys != NULL ? maxLen : 0, requiredLen);
}
