/* Exported: PrepareForAccess and EndAccess, and which of them is still open. */
#include "api/api.h"

#include <string.h>

#include "base/io.h"
#include "base/log.h"

#define MAX_IDENTITY 50 /* characters; the interface's limit */

struct access_mark {
  struct access_mark *next;
  char *server, *machine, *identity;
};

static pthread_mutex_t access_lock = PTHREAD_MUTEX_INITIALIZER;
static struct access_mark *marks; /* guarded by access_lock */

static void
free_mark (struct access_mark *mark)
{
  free (mark->server);
  free (mark->machine);
  free (mark->identity);
  free (mark);
}

void
access_forget_all (void)
{
  SCOPED_LOCK (&access_lock);

  while (marks != NULL) {
    struct access_mark *mark = marks;

    engine_warn ("VixDiskLib_EndAccess was never called for %s by %s", mark->machine, mark->identity);
    marks = mark->next;
    free_mark (mark);
  }
}

/* What the lock is on: the machine, or the first-class disk. */
static const char *
machine_of (const VixDiskLibConnectParams *params)
{
  if (params->specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT)
    return params->spec.vStorageObjSpec.id;
  return params->vmxSpec != NULL ? params->vmxSpec : "";
}

/* Where the mark hangs in the list, or the list's end.  The caller holds access_lock. */
static struct access_mark **
find (const VixDiskLibConnectParams *params, const char *identity)
{
  struct access_mark **link = &marks;

  while (*link != NULL
         && (strcmp ((*link)->server, params->serverName) != 0 || strcmp ((*link)->machine, machine_of (params)) != 0
             || strcmp ((*link)->identity, identity) != 0))
    link = &(*link)->next;
  return link;
}

/* VIX_E_INVALID_ARG: no identity, or one too long.  Characters are counted, not bytes. */
static VixError
check_identity (const char *identity)
{
  size_t characters = 0;

  if (identity == NULL || identity[0] == '\0')
    return VIX_E_INVALID_ARG;
  for (; *identity != '\0'; identity++)
    characters += ((unsigned char) *identity & 0xC0) != 0x80;
  return characters > MAX_IDENTITY ? VIX_E_INVALID_ARG : VIX_OK;
}

/* A copy of the client's parameters, when the server lets him in; the caller wipes it.  On failure there is none. */
static VixError
log_in (const VixDiskLibConnectParams *given, VixDiskLibConnectParams *params)
{
  VixError r = params_copy (params, given, library_clients_know_specs (), PARAMS_OF_DISKS);

  if (r != VIX_OK)
    return r;
  r = server_log_in (params);
  if (r == VIX_OK && params_lead_to_datastore (params))
    r = report (VIX_E_NOT_SUPPORTED, "%s: access is prepared for a machine or a first-class disk, not for a datastore",
                params->serverName);
  if (r != VIX_OK)
    params_wipe (params);
  return r;
}

/* VIX_E_OPERATION_DISABLED: prepared already; VIX_E_OUT_OF_MEMORY.  Locks access_lock. */
static VixError
prepare (const VixDiskLibConnectParams *params, const char *identity)
{
  SCOPED_LOCK (&access_lock);
  struct access_mark *mark;

  if (*find (params, identity) != NULL)
    return report (VIX_E_OPERATION_DISABLED, "%s: relocation is disabled already by %s; call VixDiskLib_EndAccess first",
                   machine_of (params), identity);
  mark = calloc (1, sizeof *mark);
  if (mark == NULL)
    return VIX_E_OUT_OF_MEMORY;
  mark->server = strdup (params->serverName);
  mark->machine = strdup (machine_of (params));
  mark->identity = strdup (identity);
  if (mark->server == NULL || mark->machine == NULL || mark->identity == NULL) {
    free_mark (mark);
    return VIX_E_OUT_OF_MEMORY;
  }
  mark->next = marks;
  marks = mark;
  return VIX_OK;
}

/* Clients call this also after a Prepare that failed: nothing to end is no error.  Locks access_lock. */
static VixError
end (const VixDiskLibConnectParams *params, const char *identity)
{
  SCOPED_LOCK (&access_lock);
  struct access_mark **link = find (params, identity), *mark = *link;

  if (mark == NULL)
    return VIX_OK;
  *link = mark->next;
  free_mark (mark);
  return VIX_OK;
}

/* A local disk cannot be relocated: nothing to prepare or to end, whatever the identity. */
static VixError
access_call (const VixDiskLibConnectParams *given, const char *identity,
             VixError (*f) (const VixDiskLibConnectParams *params, const char *identity))
{
  VixDiskLibConnectParams params;
  VixError r;

  if (!library_initialised ())
    return VIX_E_DISK_NOINIT;
  if (params_are_local (given))
    return VIX_OK;
  r = check_identity (identity);
  if (r == VIX_OK)
    r = log_in (given, &params);
  if (r != VIX_OK)
    return r;
  r = f (&params, identity);
  params_wipe (&params);
  return r;
}

/* VIX_E_DISK_NOINIT, those of check_identity, params_copy, server_log_in and prepare. */
VixError
VixDiskLib_PrepareForAccess (const VixDiskLibConnectParams *connectParams, const char *identity)
{
  API_ENTER_SERIAL ();
  return access_call (connectParams, identity, prepare);
}

VixError
VixDiskLib_EndAccess (const VixDiskLibConnectParams *connectParams, const char *identity)
{
  API_ENTER_SERIAL ();
  return access_call (connectParams, identity, end);
}
