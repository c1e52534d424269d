/* What the files with the exported functions share. */
#ifndef ENGINE_API_H
#define ENGINE_API_H

#include "base/engine.h"
#include "base/fault.h"
#include "calls/objects.h"

/* First line of every exported function that returns a VixError: the place where failures on demand come in. */
#define API_ENTER()                                                                                                      \
  do {                                                                                                                   \
    VixError fault_ = fault_check (__func__);                                                                            \
    if (fault_ != VIX_OK)                                                                                                \
      return fault_;                                                                                                     \
  } while (0)

/* Between the first Init and the last Exit. */
bool library_initialised (void);

/* Every client in the process knows VixDiskLibCreateParams with the sector sizes of 7.0. */
bool library_clients_know_sector_sizes (void);

/* Neither a server nor a machine is named.  Reads the first 16 bytes only: old clients have shorter structures. */
bool params_are_local (const VixDiskLibConnectParams *params);

/* Forgets every PrepareForAccess without its EndAccess.  Called by the last Exit. */
void access_forget_all (void);

#endif
