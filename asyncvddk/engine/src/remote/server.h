/* The imitated server: whom it lets in, and where its disks are. */
#ifndef ENGINE_SERVER_H
#define ENGINE_SERVER_H

#include <stdbool.h>

#include "vixDiskLib.h"

/* A connection that names a server.  Never changes. */
struct server {
  VixDiskLibConnectParams params; /* copies; wiped at the end */
  char *snapshot;                 /* NULL: none */
  const char *transport;          /* static; NULL: none of the modes asked for is there */
};

/* As params_copy; also VIX_E_INVALID_ARG for a snapshot without a machine, VIX_E_NOT_SUPPORTED when the configuration maps
 * no folders.  modes NULL or empty: all.  Nobody logs in yet. */
VixError server_new (const VixDiskLibConnectParams *params, bool knows_spec, const char *snapshot, const char *modes,
                     struct server **out);

/* NULL allowed. */
void server_free (struct server *server);

/* What the server says when somebody comes with these parameters: VIX_OK, VIX_E_CANNOT_CONNECT_TO_HOST (another name),
 * VIX_E_FAIL (thumbprint, user, password, cookie), VIX_E_VM_NOT_FOUND. */
VixError server_log_in (const VixDiskLibConnectParams *params);

/* File behind a path that the client gave to Open or Clone, malloc'ed; NULL stands for the first-class disk.  Logs in.
 * Also VIX_E_FILE_ACCESS_ERROR (snapshot, transport modes), VIX_E_INVALID_ARG (buffers of more than 16 MiB), and those of
 * datastores_resolve. */
VixError server_find_disk (const struct server *server, const char *path, bool exists, char **local);

/* All that can be asked for in this configuration, in order of trial; static. */
const char *server_transport_modes (void);

#endif
