#define _GNU_SOURCE
#include "remote/server.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/config.h"
#include "base/inject.h"
#include "base/io.h"
#include "base/log.h"
#include "remote/datastores.h"
#include "remote/params.h"
#include "remote/transport.h"

#define MAX_BUFFERS (16ul << 20) /* bytes of one session, as VDDK has it */
#define BUFFER_UNIT 65536ul

const char *
server_transport_modes (void)
{
  return datastores_exist () ? TRANSPORT_FILE ":" TRANSPORT_NBDSSL ":" TRANSPORT_NBD : TRANSPORT_FILE;
}

/* True if both name the same certificate: colons and letter case do not matter. */
static bool
same_thumbprint (const char *a, const char *b)
{
  for (;; a++, b++) {
    a += strspn (a, ": ");
    b += strspn (b, ": ");
    if (tolower ((unsigned char) *a) != tolower ((unsigned char) *b))
      return false;
    if (*a == '\0')
      return true;
  }
}

/* True unless the configuration wants another text. */
static bool
matches (const char *key, const char *given)
{
  const char *wanted = config_get (key);

  return wanted == NULL || strcmp (wanted, given != NULL ? given : "") == 0;
}

static VixError
check_thumbprint (const VixDiskLibConnectParams *p)
{
  const char *wanted = config_get ("openEngine.thumbPrint");

  if (!is_empty (p->thumbPrint)) {
    VixError r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_ADDTHUMB_INVPARAM, VDDK_VIXDISKLIB_VIXDISKLIB_ADDTHUMB_INVTHUMB,
                         VDDK_VIXDISKLIB_VIXDISKLIB_ADDTHUMB_ADDTHUMB_FAIL);
    if (r != VIX_OK)
      return r;
  }
  if (wanted == NULL || (p->thumbPrint != NULL && same_thumbprint (wanted, p->thumbPrint)))
    return VIX_OK;
  return report (VIX_E_FAIL, "%s: thumbprint \"%s\" is not that of the server's certificate", p->serverName,
                 p->thumbPrint != NULL ? p->thumbPrint : "");
}

static VixError
check_credentials (const VixDiskLibConnectParams *p)
{
  const bool by_session = p->credType == VIXDISKLIB_CRED_SESSIONID;
  const char *user = by_session ? p->creds.sessionId.userName : p->creds.uid.userName;

  if (by_session ? matches ("openEngine.cookie", p->creds.sessionId.cookie)
                 : matches ("openEngine.user", user) && matches ("openEngine.password", p->creds.uid.password))
    return VIX_OK;
  return report (VIX_E_FAIL, "%s: login of %s failed: wrong %s", p->serverName, user != NULL ? user : "(nobody)",
                 by_session ? "session cookie, or the session has ended" : "user name or password");
}

/* The name that openEngine.vm lists: the managed object, or the path of the .vmx file.  malloc'ed. */
static char *
machine_name (const char *spec)
{
  static const char moref[] = "moref=";

  if (strncasecmp (spec, moref, sizeof moref - 1) == 0)
    return strdup (spec + sizeof moref - 1);
  return strndup (spec, strcspn (spec, "?"));
}

static VixError
check_machine (const VixDiskLibConnectParams *p)
{
  CLEANUP_FREE char *name = NULL;

  if (is_empty (p->vmxSpec))
    return VIX_OK;
  name = machine_name (p->vmxSpec);
  if (name == NULL)
    return report_no_memory ();
  if (config_lists ("openEngine.vm", name))
    return VIX_OK;
  return report (VIX_E_VM_NOT_FOUND, "%s: has no virtual machine %s", p->serverName, p->vmxSpec);
}

VixError
server_log_in (const VixDiskLibConnectParams *p)
{
  VixError r;

  if (!config_lists ("openEngine.server", p->serverName))
    return report (VIX_E_CANNOT_CONNECT_TO_HOST, "%s: no such server; openEngine.server lists the names that lead to one", p->serverName);
  r = check_thumbprint (p);
  if (r == VIX_OK)
    r = check_credentials (p);
  return r == VIX_OK ? check_machine (p) : r;
}

/* Snapshots belong to machines; a first-class disk names its own. */
static VixError
check_snapshot_place (const VixDiskLibConnectParams *p, const char *snapshot)
{
  if (is_empty (snapshot) || !is_empty (p->vmxSpec))
    return VIX_OK;
  return report (VIX_E_INVALID_ARG, "snapshot %s: needs vmxSpec; snapshots of first-class disks are named by ssId",
                 snapshot);
}

static VixError
fill (struct server *s, const VixDiskLibConnectParams *params, bool knows_spec, const char *snapshot, const char *modes)
{
  VixError r = params_copy (&s->params, params, knows_spec, PARAMS_OF_DISKS);

  if (r == VIX_OK)
    r = check_snapshot_place (&s->params, snapshot);
  if (r == VIX_OK && !datastores_exist ())
    r = report (VIX_E_NOT_SUPPORTED,
                "connection to %s refused: the open engine serves disks of servers from folders only; map them by "
                "openEngine.datastore.<name> = /folder in the configuration file of VixDiskLib_InitEx",
                s->params.serverName);
  if (r == VIX_OK && !is_empty (snapshot)) {
    s->snapshot = strdup (snapshot);
    r = s->snapshot != NULL ? VIX_OK : report_no_memory ();
  }
  s->transport = transport_choose (modes);
  return r;
}

VixError
server_new (const VixDiskLibConnectParams *params, bool knows_spec, const char *snapshot, const char *modes,
            struct server **out)
{
  struct server *s = calloc (1, sizeof *s);
  VixError r;

  *out = NULL;
  if (s == NULL)
    return report_no_memory ();
  r = fill (s, params, knows_spec, snapshot, modes);
  if (r != VIX_OK) {
    server_free (s);
    return r;
  }
  *out = s;
  return VIX_OK;
}

void
server_free (struct server *server)
{
  if (server == NULL)
    return;
  params_wipe (&server->params);
  free (server->snapshot);
  free (server);
}

/* VDDK 7.0.3 and newer: buffers of an NFC session, in units of 64 KiB. */
static VixError
check_buffers (void)
{
  const char *spelling = config_get ("vixDiskLib.nfcAio.Session.BufSizeIn64KB") != NULL
                           ? "vixDiskLib.nfcAio.Session.BufSizeIn64KB"
                           : "vixDiskLib.nfcAio.Session.BufSizeIN64K";
  const uint64 size = config_number (spelling, 1, 1, UINT32_MAX);
  const uint64 count = config_number ("vixDiskLib.nfcAio.Session.BufCount", 4, 1, UINT32_MAX);

  if (size * count <= MAX_BUFFERS / BUFFER_UNIT)
    return VIX_OK;
  return report (VIX_E_INVALID_ARG,
                 "vixDiskLib.nfcAio.Session: %lu buffers of %lu times 64 KiB, at most 16 MiB together are possible", count,
                 size);
}

static VixError
check_transport (const struct server *s)
{
  VixError r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_NOAVAILABLEMODES, VDDK_VIXDISKLIB_VIXDISKLIB_OPEN_PLUGIN_FAIL,
                       VDDK_VIXDISKLIB_VIXDISKLIB_INIT_TRANSPORT_FAIL);

  if (r != VIX_OK)
    return r;
  if (s->transport == NULL)
    return report (VIX_E_FILE_ACCESS_ERROR, "%s: none of the transport modes asked for is available, there are %s",
                   s->params.serverName, server_transport_modes ());
  if (strcmp (s->transport, TRANSPORT_FILE) == 0)
    return VIX_OK;
  r = inject (VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_DISKSPEC, VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_TICKET,
              VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_SERVICE,
              VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_SESSIONID);
  return r == VIX_OK ? check_buffers () : r;
}

/* The disk is the one that the path names, as the snapshot's own list of devices does; the snapshot must be there. */
static VixError
check_snapshot (const struct server *s)
{
  if (s->snapshot == NULL || config_lists ("openEngine.snapshot", s->snapshot))
    return VIX_OK;
  return report (VIX_E_FILE_ACCESS_ERROR, "%s: %s has no snapshot %s", s->params.serverName, s->params.vmxSpec,
                 s->snapshot);
}

static VixError
admit (const struct server *s)
{
  VixError r = inject (VDDK_VIXDISKLIB_VIXDISKLIB_CREATESESSION_FAIL_AGENT,
                       VDDK_VIXDISKLIB_VIXDISKLIB_CREATESESSION_FAIL_STATUS,
                       VDDK_VIMACCESS_SESSION_GETFILENAME_FAIL_NO_DISKSPEC,
                       VDDK_VIMACCESS_SESSION_GETFILENAME_FAIL_NO_FILENAME);

  if (r == VIX_OK)
    r = server_log_in (&s->params);
  if (r == VIX_OK)
    r = check_snapshot (s);
  return r == VIX_OK ? check_transport (s) : r;
}

VixError
server_find_disk (const struct server *s, const char *path, bool exists, char **local)
{
  const VixDiskLibVStorageObjectSpec *object = &s->params.spec.vStorageObjSpec;
  const bool is_object = s->params.specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT;
  VixError r;

  *local = NULL;
  if (path == NULL && !is_object)
    return VIX_E_INVALID_ARG;
  r = admit (s);
  if (r != VIX_OK)
    return r;
  if (is_object && (is_empty (path) || strcasecmp (path, object->id) == 0))
    return datastores_resolve_object (object->id, object->ssId, local);
  return datastores_resolve (path, exists, local);
}
