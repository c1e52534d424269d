/* What the files with the exported functions share. */
#ifndef ENGINE_API_H
#define ENGINE_API_H

#include "base/engine.h"
#include "base/fault.h"
#include "base/inject.h"
#include "calls/objects.h"
#include "remote/params.h"

/* First line of every exported function that returns a VixError: the place where failures and hangs on demand come in. */
#define API_ENTER()                                                                                                      \
  do {                                                                                                                   \
    VixError fault_ = fault_check (__func__);                                                                            \
    if (fault_ != VIX_OK)                                                                                                \
      return fault_;                                                                                                     \
  } while (0)

/* The same for functions that VDDK wants one at a time in a process, see calls/threads.h. */
#define API_ENTER_SERIAL()                                                                                               \
  SERIAL_CALL;                                                                                                           \
  API_ENTER ()

/* Second: failures of VixDiskLib_SetInjectedFault. */
#define API_INJECT(...)                                                                                                  \
  do {                                                                                                                   \
    VixError fault_ = inject (__VA_ARGS__);                                                                              \
    if (fault_ != VIX_OK)                                                                                                \
      return fault_;                                                                                                     \
  } while (0)

/* Functions for local disks: on a server they are not possible. */
#define LOCAL_ONLY(connection)                                                                                           \
  do {                                                                                                                   \
    VixError fault_ = local_only (connection, __func__);                                                                 \
    if (fault_ != VIX_OK)                                                                                                \
      return fault_;                                                                                                     \
  } while (0)

/* Names of local files: "[datastore] x.vmdk" would be one that no Open finds. */
#define LOCAL_PATH(path)                                                                                                 \
  do {                                                                                                                   \
    VixError fault_ = local_path (path, __func__);                                                                       \
    if (fault_ != VIX_OK)                                                                                                \
      return fault_;                                                                                                     \
  } while (0)

/* Between the first Init and the last Exit. */
bool library_initialised (void);

/* Every client in the process knows VixDiskLibCreateParams with the sector sizes of 7.0. */
bool library_clients_know_sector_sizes (void);

/* Every client in the process knows VixDiskLibConnectParams with the specType of 6.7. */
bool library_clients_know_specs (void);

/* VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT, reported, for a connection to a server. */
VixError local_only (const struct connection *connection, const char *function);

/* The same for a path on a datastore. */
VixError local_path (const char *path, const char *function);

/* File behind a path that the client gave together with a connection, malloc'ed; for a server free of symbolic links.
 * exists: else the disk is going to be made.  VIX_E_INVALID_ARG, VIX_E_FILE_NOT_FOUND: the path is one of the other kind
 * of connection; those of server_find_disk. */
VixError connection_find_disk (const struct connection *connection, const char *path, bool exists, char **file);

/* Where that disk and its parents must lie; NULL: anywhere. */
const struct folders *connection_folders (const struct connection *connection);

/* Forgets every PrepareForAccess without its EndAccess.  Called by the last Exit. */
void access_forget_all (void);

#endif
