/* The places where VixDiskLib_SetInjectedFault makes calls fail. */
#ifndef ENGINE_INJECT_H
#define ENGINE_INJECT_H

#include <stdbool.h>
#include <stddef.h>

#include "vddkFaultInjection.h"

/* The first failure that is enabled among n faults, reported; VIX_OK: none.  Any thread. */
VixError inject_check (const int *ids, size_t n);

/* inject (VDDK_..., VDDK_...): the same for faults that are listed. */
#define inject(...)                                                                                                      \
  inject_check ((const int[]){ __VA_ARGS__ }, sizeof ((const int[]){ __VA_ARGS__ }) / sizeof (int))

#endif
