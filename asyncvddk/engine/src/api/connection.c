/* Exported: connection parameters, connections. */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/io.h"
#include "remote/datastores.h"

/* What only parameters from VixDiskLib_GetConnectParams have: which strings in them are ours. */
struct VixDiskLibConnectParamsState {
  const VixDiskLibConnectParams *owner; /* a client may copy the structure, this with it */
  VixDiskLibConnectParams strings;
};

VixDiskLibConnectParams *
VixDiskLib_AllocateConnectParams (void)
{
  return calloc (1, sizeof (VixDiskLibConnectParams));
}

/* Strings that the caller stored stay the caller's: clients free them on their own, before or after.  Those that
 * VixDiskLib_GetConnectParams made are freed here, the secrets overwritten, whatever the caller did to the fields. */
void
VixDiskLib_FreeConnectParams (VixDiskLibConnectParams *connectParams)
{
  VixDiskLibConnectParamsState *state = connectParams != NULL ? connectParams->state : NULL;

  if (state != NULL && state->owner == connectParams) {
    params_wipe (&state->strings);
    free (state);
  }
  free (connectParams);
}

/* A copy of what the client gave, secrets included: it can be connected with again, as the one of VMware's library. */
static VixDiskLibConnectParams *
copy_params (const struct server *server)
{
  VixDiskLibConnectParams *copy = VixDiskLib_AllocateConnectParams ();
  VixDiskLibConnectParamsState *state = server != NULL ? calloc (1, sizeof *state) : NULL;

  if (copy == NULL || server == NULL)
    return copy;
  if (state == NULL || params_duplicate (&state->strings, &server->params) != VIX_OK) {
    free (state);
    free (copy);
    return NULL;
  }
  *copy = state->strings;
  copy->state = state;
  state->owner = copy;
  return copy;
}

/* A local connection has empty parameters.  VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, VIX_E_OUT_OF_MEMORY. */
VixError
VixDiskLib_GetConnectParams (const VixDiskLibConnection connection, VixDiskLibConnectParams **connectParams)
{
  API_ENTER ();
  if (connectParams == NULL)
    return VIX_E_INVALID_ARG;
  *connectParams = NULL;
  WITH_CONNECTION struct connection *c = connection_get (connection);
  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  *connectParams = copy_params (c->server);
  return *connectParams == NULL ? VIX_E_OUT_OF_MEMORY : VIX_OK;
}

VixError
local_only (const struct connection *connection, const char *function)
{
  if (connection->server == NULL)
    return VIX_OK;
  return report (VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT, "%s: is for local disks, the connection is to server %s", function,
                 connection->server->params.serverName);
}

VixError
local_path (const char *path, const char *function)
{
  if (!is_datastore_path (path))
    return VIX_OK;
  return report (VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT, "%s: is for local disks, %s is on a datastore", function, path);
}

VixError
connection_find_disk (const struct connection *connection, const char *path, bool exists, char **file)
{
  *file = NULL;
  if (connection->server != NULL)
    return server_find_disk (connection->server, path, exists, file);
  if (path == NULL)
    return VIX_E_INVALID_ARG;
  if (is_datastore_path (path))
    return report (VIX_E_FILE_NOT_FOUND, "%s: is a path on a datastore, but the connection is local; connect to its server",
                   path);
  *file = strdup (path);
  return *file != NULL ? VIX_OK : report_no_memory ();
}

const struct folders *
connection_folders (const struct connection *connection)
{
  return connection->server != NULL ? datastores_folders () : NULL;
}

static VixError
inject_server (const VixDiskLibConnectParams *p)
{
  VixError r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_SERVER);

  if (r == VIX_OK)
    r = inject (p->credType == VIXDISKLIB_CRED_UID ? VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_CRED_UID
                                                   : VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_CRED_SESSIONID);
  if (r == VIX_OK)
    r = inject (p->specType == VIXDISKLIB_SPEC_VMX               ? VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_VMXSPEC
                : p->specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT ? VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_FCD
                                                                 : VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_RDS);
  return r;
}

/* Fills a new connection.  Nobody logs in: as in VDDK that fails in Open. */
static VixError
fill (struct connection *c, const VixDiskLibConnectParams *params, bool read_only, const char *snapshot,
      const char *modes)
{
  VixError r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_CONN);

  if (r == VIX_OK && !params_are_local (params)) {
    r = server_new (params, library_clients_know_specs (), snapshot, modes, &c->server);
    if (r == VIX_OK)
      r = inject_server (&c->server->params);
  } else if (r == VIX_OK && !is_empty (snapshot))
    engine_log ("snapshot %s ignored: the connection is local", snapshot);
  c->read_only = read_only;
  c->thread = threads_self ();
  return r;
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_NOINIT, VIX_E_TOO_MANY_HANDLES, those of server_new. */
static VixError
connect (const VixDiskLibConnectParams *params, bool read_only, const char *snapshot, const char *modes,
         VixDiskLibConnection *connection)
{
  struct connection *c;
  VixError r;

  if (connection == NULL)
    return VIX_E_INVALID_ARG;
  *connection = NULL;
  if (!library_initialised ())
    return VIX_E_DISK_NOINIT;
  c = connection_new ();
  if (c == NULL)
    return VIX_E_TOO_MANY_HANDLES;
  r = fill (c, params, read_only, snapshot, modes);
  if (r != VIX_OK) {
    connection_discard (c);
    return r;
  }
  *connection = (VixDiskLibConnection) c;
  object_publish (&c->object);
  return VIX_OK;
}

VixError
VixDiskLib_Connect (const VixDiskLibConnectParams *connectParams, VixDiskLibConnection *connection)
{
  API_ENTER_SERIAL ();
  return connect (connectParams, false, NULL, NULL, connection);
}

/* A snapshot means nothing on a local disk, and its transport mode is file whatever is asked for. */
VixError
VixDiskLib_ConnectEx (const VixDiskLibConnectParams *connectParams, Bool readOnly, const char *snapshotRef,
                      const char *transportModes, VixDiskLibConnection *connection)
{
  API_ENTER_SERIAL ();
  return connect (connectParams, readOnly != FALSE, snapshotRef, transportModes, connection);
}

/* VIX_E_DISK_INVALID_CONNECTION.  A failure on demand is reported after the connection was closed. */
VixError
VixDiskLib_Disconnect (VixDiskLibConnection connection)
{
  SERIAL_CALL;
  VixError fault = fault_check (__func__), err;
  struct connection *c = connection_get (connection);

  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  threads_same (c->thread, __func__, "connection");
  err = connection_close (c);
  return fault != VIX_OK ? fault : err;
}
