/* What only the asynchronous variant of the stub library has: each request is done by a thread of its own. */
#include <pthread.h>
#include <stdlib.h>

#include "stub_control.h"

struct request {
  VixDiskLibSectorType start, count;
  uint8 *to;                            /* read */
  const uint8 *from;                    /* write */
  VixDiskLibCompletionCB callback;
  void *data;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static unsigned in_flight;              /* of all disks; guarded by lock */

bool
requests_in_flight (void)
{
  bool some;

  pthread_mutex_lock (&lock);
  some = in_flight > 0;
  pthread_mutex_unlock (&lock);
  return some;
}

static void *
serve (void *opaque)
{
  struct request *r = opaque;
  VixError error = enter (r->to ? CALL_Read : CALL_Write);

  if (!error)
    transfer (r->start, r->count, r->to, r->from);
  r->callback (r->data, error);
  free (r);
  pthread_mutex_lock (&lock);
  in_flight--;
  pthread_cond_broadcast (&idle);
  pthread_mutex_unlock (&lock);
  return NULL;
}

static VixError
submit (struct request request)
{
  struct request *r = malloc (sizeof *r);
  pthread_t thread;

  *r = request;
  pthread_mutex_lock (&lock);
  in_flight++;
  pthread_mutex_unlock (&lock);
  if (pthread_create (&thread, NULL, serve, r) != 0)
    abort ();
  pthread_detach (thread);
  return VIX_ASYNC;
}

EXPORT VixError
VixDiskLib_ReadAsync (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *buffer,
                      VixDiskLibCompletionCB callback, void *data)
{
  VixError error = enter_disk (handle, CALL_ReadAsync);

  return error ? error : submit ((struct request) { start, count, buffer, NULL, callback, data });
}

EXPORT VixError
VixDiskLib_WriteAsync (VixDiskLibHandle handle, VixDiskLibSectorType start, VixDiskLibSectorType count,
                       const uint8 *buffer, VixDiskLibCompletionCB callback, void *data)
{
  VixError error = enter_disk (handle, CALL_WriteAsync);

  return error ? error : submit ((struct request) { start, count, NULL, buffer, callback, data });
}

EXPORT VixError
VixDiskLib_Wait (VixDiskLibHandle handle)
{
  pthread_mutex_lock (&lock);
  while (in_flight > 0)
    pthread_cond_wait (&idle, &lock);
  pthread_mutex_unlock (&lock);
  return enter_disk (handle, CALL_Wait);
}
