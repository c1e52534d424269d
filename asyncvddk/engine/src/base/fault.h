/* Failures on demand, so that a client's error paths can be tested. */
#ifndef ENGINE_FAULT_H
#define ENGINE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "vixDiskLib.h"

extern atomic_bool fault_armed; /* some rule exists */

/* Reads openEngine.fail.  Called by the first InitEx. */
void fault_load (void);

VixError fault_count_call (const char *function);

/* What this call of the named function shall fail with, VIX_OK for all others.  Any thread. */
static inline VixError
fault_check (const char *function)
{
  return atomic_load_explicit (&fault_armed, memory_order_relaxed) ? fault_count_call (function) : VIX_OK;
}

#endif
