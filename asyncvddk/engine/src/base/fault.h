/* Failures and hangs on demand, so that a client's error paths can be tested. */
#ifndef ENGINE_FAULT_H
#define ENGINE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "vixDiskLib.h"

extern atomic_bool fault_armed; /* some rule exists */

/* Reads openEngine.fail and openEngine.hang.  Called by the first InitEx. */
void fault_load (void);

/* No rule is left.  Called by the last Exit. */
void fault_forget (void);

VixError fault_count_call (const char *function);

/* What this call of the named function shall fail with, VIX_OK for all others.  May wait for openEngine.hang: the caller
 * holds no lock.  Any thread. */
static inline VixError
fault_check (const char *function)
{
  return atomic_load_explicit (&fault_armed, memory_order_relaxed) ? fault_count_call (function) : VIX_OK;
}

#endif
