/* Exported: connection parameters, connections. */
#include "api/api.h"

#include <stdlib.h>

#include "base/log.h"

static bool
is_empty (const char *text)
{
  return text == NULL || text[0] == '\0';
}

bool
params_are_local (const VixDiskLibConnectParams *params)
{
  return params == NULL || (is_empty (params->vmxSpec) && is_empty (params->serverName));
}

VixDiskLibConnectParams *
VixDiskLib_AllocateConnectParams (void)
{
  return calloc (1, sizeof (VixDiskLibConnectParams));
}

/* Strings that the caller stored stay the caller's: clients free them on their own, before or after. */
void
VixDiskLib_FreeConnectParams (VixDiskLibConnectParams *connectParams)
{
  free (connectParams);
}

/* Every connection is local, and such a one has empty parameters.
 * VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION, VIX_E_OUT_OF_MEMORY. */
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
  *connectParams = VixDiskLib_AllocateConnectParams ();
  return *connectParams == NULL ? VIX_E_OUT_OF_MEMORY : VIX_OK;
}

/* VIX_E_INVALID_ARG, VIX_E_DISK_NOINIT, VIX_E_NOT_SUPPORTED (a remote host), VIX_E_TOO_MANY_HANDLES. */
static VixError
connect_local (const VixDiskLibConnectParams *params, bool read_only, VixDiskLibConnection *connection)
{
  struct connection *c;

  if (connection == NULL)
    return VIX_E_INVALID_ARG;
  *connection = NULL;
  if (!library_initialised ())
    return VIX_E_DISK_NOINIT;
  if (!params_are_local (params)) {
    engine_warn ("connection to %s refused: the open engine serves local disks only; leave vmxSpec and serverName empty",
                 is_empty (params->serverName) ? params->vmxSpec : params->serverName);
    return VIX_E_NOT_SUPPORTED;
  }
  c = connection_new ();
  if (c == NULL)
    return VIX_E_TOO_MANY_HANDLES;
  c->read_only = read_only;
  *connection = (VixDiskLibConnection) c;
  object_publish (&c->object);
  return VIX_OK;
}

VixError
VixDiskLib_Connect (const VixDiskLibConnectParams *connectParams, VixDiskLibConnection *connection)
{
  API_ENTER ();
  return connect_local (connectParams, false, connection);
}

/* A snapshot means nothing on a local disk. */
VixError
VixDiskLib_ConnectEx (const VixDiskLibConnectParams *connectParams, Bool readOnly, const char *snapshotRef,
                      const char *transportModes, VixDiskLibConnection *connection)
{
  API_ENTER ();
  if (!is_empty (snapshotRef) && params_are_local (connectParams))
    engine_log ("snapshot %s ignored: the connection is local", snapshotRef);
  if (!is_empty (transportModes))
    engine_log ("transport modes %s asked for, %s is used", transportModes, ENGINE_TRANSPORT);
  return connect_local (connectParams, readOnly != FALSE, connection);
}

/* VIX_E_DISK_INVALID_CONNECTION.  A failure on demand is reported after the connection was closed. */
VixError
VixDiskLib_Disconnect (VixDiskLibConnection connection)
{
  VixError fault = fault_check (__func__), err;
  struct connection *c = connection_get (connection);

  if (c == NULL)
    return VIX_E_DISK_INVALID_CONNECTION;
  err = connection_close (c);
  return fault != VIX_OK ? fault : err;
}
