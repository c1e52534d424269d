/* The stub library's maintenance of disks: long calls with progress, and the disk database. */
#include <string.h>

#include "stub_control.h"

#define MAX_KEYS 16
#define MAX_TEXT 4096

static struct { char key[MAX_TEXT], value[MAX_TEXT]; } database[MAX_KEYS];

void
forget_database (void)
{
  memset (database, 0, sizeof database);
}

/* A call that works on a whole disk: begins, stands at its gate, and is done unless told to stop. */
static VixError
long_call (enum call call, VixDiskLibProgressFunc progress, void *data)
{
  VixError error;

  progress (data, 10);
  error = enter (call);
  if (!error && !progress (data, 100) && obedient ())
    error = VIX_E_CANCELLED;
  return error;
}

EXPORT VixError
VixDiskLib_Create (const VixDiskLibConnection connection, const char *path, const VixDiskLibCreateParams *params,
                   VixDiskLibProgressFunc progress, void *data)
{
  (void) path, (void) params;
  object_use (connection, CONNECTION, CALL_Create);
  return long_call (CALL_Create, progress, data);
}

EXPORT VixError
VixDiskLib_CreateChild (VixDiskLibHandle handle, const char *path, VixDiskLibDiskType type,
                        VixDiskLibProgressFunc progress, void *data)
{
  (void) path, (void) type;
  object_use (handle, DISK, CALL_CreateChild);
  return long_call (CALL_CreateChild, progress, data);
}

EXPORT VixError
VixDiskLib_Clone (const VixDiskLibConnection connection, const char *path, const VixDiskLibConnection source,
                  const char *source_path, const VixDiskLibCreateParams *params, VixDiskLibProgressFunc progress,
                  void *data, Bool overwrite)
{
  (void) source, (void) path, (void) source_path, (void) params, (void) overwrite;
  object_use (connection, CONNECTION, CALL_Clone);
  return long_call (CALL_Clone, progress, data);
}

EXPORT VixError
VixDiskLib_Grow (VixDiskLibConnection connection, const char *path, VixDiskLibSectorType size, Bool geometry,
                 VixDiskLibProgressFunc progress, void *data)
{
  (void) path, (void) size, (void) geometry;
  object_use (connection, CONNECTION, CALL_Grow);
  return long_call (CALL_Grow, progress, data);
}

EXPORT VixError
VixDiskLib_Shrink (VixDiskLibHandle handle, VixDiskLibProgressFunc progress, void *data)
{
  object_use (handle, DISK, CALL_Shrink);
  return long_call (CALL_Shrink, progress, data);
}

EXPORT VixError
VixDiskLib_Defragment (VixDiskLibHandle handle, VixDiskLibProgressFunc progress, void *data)
{
  object_use (handle, DISK, CALL_Defragment);
  return long_call (CALL_Defragment, progress, data);
}

EXPORT VixError
VixDiskLib_Unlink (VixDiskLibConnection connection, const char *path)
{
  (void) path;
  object_use (connection, CONNECTION, CALL_Unlink);
  return enter (CALL_Unlink);
}

EXPORT VixError
VixDiskLib_Rename (const char *from, const char *to)
{
  (void) from, (void) to;
  return enter (CALL_Rename);
}

EXPORT VixError
VixDiskLib_CheckRepair (const VixDiskLibConnection connection, const char *path, Bool repair)
{
  (void) path, (void) repair;
  object_use (connection, CONNECTION, CALL_CheckRepair);
  return enter (CALL_CheckRepair);
}

EXPORT VixError
VixDiskLib_IsAttachPossible (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  (void) parent;
  return enter_disk (child, CALL_IsAttachPossible);
}

EXPORT VixError
VixDiskLib_Attach (VixDiskLibHandle parent, VixDiskLibHandle child)
{
  (void) parent;
  return enter_disk (child, CALL_Attach);
}

/* The two-call protocol of the disk database. */
static VixError
give_text (const char *text, size_t length, char *buffer, size_t room, size_t *required)
{
  *required = length;
  if (room < length)
    return VIX_E_BUFFER_TOOSMALL;
  memcpy (buffer, text, length);
  return VIX_OK;
}

EXPORT VixError
VixDiskLib_GetMetadataKeys (VixDiskLibHandle handle, char *buffer, size_t room, size_t *required)
{
  VixError error = enter_disk (handle, CALL_GetMetadataKeys);
  char keys[MAX_KEYS * MAX_TEXT + 1];
  size_t used = 0, i;

  for (i = 0; i < MAX_KEYS && database[i].key[0]; i++) {
    memcpy (keys + used, database[i].key, strlen (database[i].key) + 1);
    used += strlen (database[i].key) + 1;
  }
  keys[used++] = '\0';
  return error ? error : give_text (keys, used, buffer, room, required);
}

EXPORT VixError
VixDiskLib_ReadMetadata (VixDiskLibHandle handle, const char *key, char *buffer, size_t room, size_t *required)
{
  VixError error = enter_disk (handle, CALL_ReadMetadata);
  size_t i;

  for (i = 0; !error && i < MAX_KEYS; i++)
    if (strcmp (database[i].key, key) == 0)
      return give_text (database[i].value, strlen (database[i].value) + 1, buffer, room, required);
  return error ? error : VIX_E_DISK_KEY_NOTFOUND;
}

EXPORT VixError
VixDiskLib_WriteMetadata (VixDiskLibHandle handle, const char *key, const char *value)
{
  VixError error = enter_disk (handle, CALL_WriteMetadata);
  size_t i;

  for (i = 0; !error && i < MAX_KEYS; i++) {
    if (database[i].key[0] && strcmp (database[i].key, key) != 0)
      continue;
    strncpy (database[i].key, key, MAX_TEXT - 1);
    strncpy (database[i].value, value, MAX_TEXT - 1);
    break;
  }
  return error;
}
