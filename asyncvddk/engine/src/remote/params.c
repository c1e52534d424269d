#include "remote/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

/* One string of the parameters. */
struct text {
  char **at;
  const char *name;
  enum { OPTIONAL, NEEDED /* NULL is wrong */, FILLED /* so is "" */ } need;
  bool secret;
};

#define MAX_TEXTS 9

bool
params_are_local (const VixDiskLibConnectParams *params)
{
  return params == NULL || (is_empty (params->vmxSpec) && is_empty (params->serverName));
}

static size_t
list_credentials (VixDiskLibConnectParams *p, struct text *texts)
{
  VixDiskLibUidPasswdCreds *uid = &p->creds.uid;
  VixDiskLibSessionIdCreds *session = &p->creds.sessionId;

  switch (p->credType) {
  case VIXDISKLIB_CRED_UID:
    texts[0] = (struct text){ &uid->userName, "creds.uid.userName", FILLED, false };
    texts[1] = (struct text){ &uid->password, "creds.uid.password", NEEDED, true };
    return 2;
  case VIXDISKLIB_CRED_SESSIONID:
    texts[0] = (struct text){ &session->cookie, "creds.sessionId.cookie", FILLED, true };
    texts[1] = (struct text){ &session->userName, "creds.sessionId.userName", OPTIONAL, false };
    texts[2] = (struct text){ &session->key, "creds.sessionId.key", OPTIONAL, true };
    return 3;
  default: return 0;
  }
}

static size_t
list_spec (VixDiskLibConnectParams *p, struct text *texts)
{
  VixDiskLibVStorageObjectSpec *object = &p->spec.vStorageObjSpec;
  VixDiskLibDatastoreSpec *datastore = &p->spec.dsSpec;

  if (p->specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT) {
    texts[0] = (struct text){ &object->id, "spec.vStorageObjSpec.id", FILLED, false };
    texts[1] = (struct text){ &object->datastoreMoRef, "spec.vStorageObjSpec.datastoreMoRef", FILLED, false };
    texts[2] = (struct text){ &object->ssId, "spec.vStorageObjSpec.ssId", OPTIONAL, false };
    return 3;
  }
  if (params_lead_to_datastore (p)) {
    texts[0] = (struct text){ &datastore->datastoreMoRef, "spec.dsSpec.datastoreMoRef", FILLED, false };
    texts[1] = (struct text){ &datastore->diskFolder, "spec.dsSpec.diskFolder", FILLED, false };
    return 2;
  }
  return 0;
}

/* All strings that the kinds of credentials and spec make part of the structure. */
static size_t
list (VixDiskLibConnectParams *p, struct text texts[MAX_TEXTS])
{
  size_t n = 0;

  texts[n++] = (struct text){ &p->serverName, "serverName", FILLED, false };
  texts[n++] = (struct text){ &p->vmxSpec, "vmxSpec", p->specType == VIXDISKLIB_SPEC_VMX ? FILLED : OPTIONAL, false };
  texts[n++] = (struct text){ &p->thumbPrint, "thumbPrint", OPTIONAL, false };
  n += list_credentials (p, texts + n);
  return n + list_spec (p, texts + n);
}

/* What the client's structure says, its strings still his; 72 bytes of it are as old as the thumbprint. */
static void
read_client (VixDiskLibConnectParams *to, const VixDiskLibConnectParams *from, bool knows_spec)
{
  *to = (VixDiskLibConnectParams){ .specType = VIXDISKLIB_SPEC_VMX };
  memcpy (to, from, offsetof (VixDiskLibConnectParams, vimApiVer));
  to->privateUse = 0;
  if (!is_empty (from->vmxSpec) || !knows_spec)
    return;
  to->spec = from->spec;
  to->specType = from->specType;
}

static VixError
check_kinds (const VixDiskLibConnectParams *p)
{
  if (p->credType == VIXDISKLIB_CRED_TICKETID || p->credType == VIXDISKLIB_CRED_SSPI)
    return report (VIX_E_NOT_SUPPORTED,
                   "server %s: credentials by ticket or SSPI are not supported, use VIXDISKLIB_CRED_UID or _SESSIONID",
                   is_empty (p->serverName) ? "(none)" : p->serverName);
  if (p->credType != VIXDISKLIB_CRED_UID && p->credType != VIXDISKLIB_CRED_SESSIONID)
    return report (VIX_E_INVALID_ARG, "connection parameters: credType is %u, expected VIXDISKLIB_CRED_UID or _SESSIONID",
                   (unsigned) p->credType);
  if (p->specType != VIXDISKLIB_SPEC_VMX && p->specType != VIXDISKLIB_SPEC_VSTORAGE_OBJECT && !params_lead_to_datastore (p))
    return report (VIX_E_INVALID_ARG, "connection parameters: specType is %u, expected one of VIXDISKLIB_SPEC_*",
                   (unsigned) p->specType);
  return VIX_OK;
}

/* VIX_E_INVALID_ARG, with all names in one warning. */
static VixError
check_complete (VixDiskLibConnectParams *p, enum params_purpose purpose)
{
  struct text texts[MAX_TEXTS];
  const size_t n = list (p, texts);
  char missing[512] = "";
  size_t end = 0;

  for (size_t i = 0; i < n; i++) {
    const char *text = *texts[i].at;

    if (texts[i].need == OPTIONAL || (texts[i].need == NEEDED ? text != NULL : !is_empty (text)))
      continue;
    if (purpose == PARAMS_OF_HOST && texts[i].at == &p->vmxSpec)
      continue;
    end += (size_t) snprintf (missing + end, sizeof missing - end, "%s%s", end > 0 ? ", " : "", texts[i].name);
  }
  if (end == 0)
    return VIX_OK;
  return report (VIX_E_INVALID_ARG, "connection parameters: %s missing; VMware's library would end the process here",
                 missing);
}

VixError
params_duplicate (VixDiskLibConnectParams *to, const VixDiskLibConnectParams *from)
{
  struct text texts[MAX_TEXTS];
  bool failed = false;
  size_t n;

  *to = *from;
  n = list (to, texts);
  for (size_t i = 0; i < n; i++)
    if (*texts[i].at != NULL) {
      *texts[i].at = strdup (*texts[i].at);
      failed |= *texts[i].at == NULL;
    }
  if (!failed)
    return VIX_OK;
  params_wipe (to);
  return report_no_memory ();
}

VixError
params_copy (VixDiskLibConnectParams *to, const VixDiskLibConnectParams *from, bool knows_spec,
             enum params_purpose purpose)
{
  VixDiskLibConnectParams given;
  VixError r;

  read_client (&given, from, knows_spec && purpose == PARAMS_OF_DISKS);
  r = check_kinds (&given);
  if (r == VIX_OK)
    r = check_complete (&given, purpose);
  return r == VIX_OK ? params_duplicate (to, &given) : r;
}

void
params_wipe (VixDiskLibConnectParams *params)
{
  struct text texts[MAX_TEXTS];
  const size_t n = list (params, texts);

  for (size_t i = 0; i < n; i++) {
    if (texts[i].secret && *texts[i].at != NULL)
      explicit_bzero (*texts[i].at, strlen (*texts[i].at));
    free (*texts[i].at);
  }
  *params = (VixDiskLibConnectParams){ 0 };
}
