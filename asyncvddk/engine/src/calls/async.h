/* Requests of VixDiskLib_ReadAsync and VixDiskLib_WriteAsync. */
#ifndef ENGINE_ASYNC_H
#define ENGINE_ASYNC_H

#include <stdbool.h>

#include "calls/objects.h"

enum operation { OPERATION_READ, OPERATION_WRITE };

struct request {
  enum operation operation;
  struct handle *handle;
  uint64 start, count; /* sectors */
  union {
    uint8 *in;
    const uint8 *out;
  } buffer;
  VixDiskLibCompletionCB callback;
  void *data;
};

/* Reads openEngine.async and openEngine.threads.  Called by the first InitEx. */
void async_load (void);

/* VIX_ASYNC: the request is copied, its callback runs exactly once, perhaps has run already.  VIX_E_OUT_OF_MEMORY: refused.
 * The caller holds the handle.  Locks the queue if a thread is needed. */
VixError async_submit (const struct request *request);

/* True on a thread that runs a callback of this handle right now: waiting for the handle would never end there.  The other:
 * of any handle. */
bool async_in_callback (const struct handle *handle);
bool async_in_any_callback (void);

/* Finishes what is queued and ends all threads.  Called by the last Exit; later requests start threads again. */
void async_stop (void);

#endif
