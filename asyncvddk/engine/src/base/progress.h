/* How far a long call is, told to the client, who may cancel it. */
#ifndef ENGINE_PROGRESS_H
#define ENGINE_PROGRESS_H

#include "vixDiskLib.h"

struct progress {
  VixDiskLibProgressFunc function; /* NULL: nobody wants to know */
  void *data;
  int told;         /* last percentage, -1: none yet */
  const char *what; /* the disk, or the work, for messages */
};

/* Tells percent, 0 to 100, unless as much was told before.  VIX_E_CANCELLED, reported, if the client wants no more:
 * the caller puts everything back as it was.  Runs the client's function on this thread: hold no lock. */
VixError progress_tell (struct progress *p, int percent);

/* Share of the work that is done, in percent; 99 at most: 100 is for the call whose result is in place. */
static inline int
progress_share (uint64 done, uint64 total)
{
  return total ? (int) ((double) done * 99 / (double) total) : 99;
}

#endif
