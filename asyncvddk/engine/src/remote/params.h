/* Connection parameters of a server: what a client must give, and copies that outlive his. */
#ifndef ENGINE_PARAMS_H
#define ENGINE_PARAMS_H

#include <stdbool.h>

#include "vixDiskLib.h"

#define SPEC_DATASTORE_OLD 128 /* what some clients pass for VIXDISKLIB_SPEC_DATASTORE */

/* Neither a server nor a machine is named: local disks.  Reads the first 16 bytes only, old clients know no more. */
bool params_are_local (const VixDiskLibConnectParams *params);

/* What params_copy needs to be told of the client's structure. */
enum params_purpose {
  PARAMS_OF_DISKS, /* must say which machine, first-class disk or datastore */
  PARAMS_OF_HOST,  /* need not: for VixDiskLib_Cleanup */
};

/* Fills *to with copies of all that the client gave.  knows_spec: his structure is that of 6.7 or newer and has specType;
 * it is read only if vmxSpec is empty, because some who ask for new versions still pass the short structure.
 *
 * VIX_E_INVALID_ARG: something is missing, and a warning says what; VMware's library ends the process in that case.
 * VIX_E_NOT_SUPPORTED: credentials of a kind that only VMware's library knows.  VIX_E_OUT_OF_MEMORY. */
VixError params_copy (VixDiskLibConnectParams *to, const VixDiskLibConnectParams *from, bool knows_spec,
                      enum params_purpose purpose);

/* Copies what params_copy has filled. */
VixError params_duplicate (VixDiskLibConnectParams *to, const VixDiskLibConnectParams *from);

/* Frees the copies, secrets overwritten before. */
void params_wipe (VixDiskLibConnectParams *params);

static inline bool
params_lead_to_datastore (const VixDiskLibConnectParams *params)
{
  return params->specType == VIXDISKLIB_SPEC_DATASTORE || params->specType == SPEC_DATASTORE_OLD;
}

static inline bool
is_empty (const char *text)
{
  return text == NULL || text[0] == '\0';
}

#endif
