/* How slow the library is made: openEngine.latencyMs and openEngine.bandwidth. */
#ifndef ENGINE_PACE_H
#define ENGINE_PACE_H

#include <pthread.h>
#include <stdbool.h>

#include "vixDiskLib.h"

/* The line of one open disk.  Zeroed memory is a valid one. */
struct pace {
  pthread_mutex_t lock; /* guards all below */
  uint64 free_ns;       /* CLOCK_MONOTONIC: everything accepted so far has passed */
  uint64 rest;          /* of the division that gave free_ns, so that nothing is lost by rounding */
};

/* Reads the configuration.  Called by the first InitEx. */
void pace_load (void);

/* False: transfers are as fast as they can be. */
bool pace_is_set (void);

/* Returns when so many bytes have passed the line: not before the latency is over, and not before the bytes before them
 * have passed.  Takes the lock, not while it waits. */
void pace_wait (struct pace *line, uint64 bytes);

#endif
