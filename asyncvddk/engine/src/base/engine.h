/* What every file of the engine shares. */
#ifndef ENGINE_H
#define ENGINE_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "vixDiskLib.h"

#define ENGINE_MAJOR 8 /* generation of the interface */
#ifndef ENGINE_VERSION     /* build.py gives it */
#define ENGINE_VERSION "unversioned"
#endif

/* CLEANUP_FREE char *p = NULL;  is freed when it goes out of scope; SCOPED_LOCK (&mutex);  is unlocked then. */
#define CLEANUP_FREE __attribute__ ((cleanup (cleanup_free), unused))
#define SCOPED_LOCK(mutex)                                                                                               \
  __attribute__ ((cleanup (cleanup_unlock), unused)) pthread_mutex_t *scoped_lock_ = cleanup_lock (mutex)

static inline void
cleanup_free (void *pointer)
{
  free (*(void **) pointer);
}

static inline pthread_mutex_t *
cleanup_lock (pthread_mutex_t *mutex)
{
  pthread_mutex_lock (mutex);
  return mutex;
}

static inline void
cleanup_unlock (pthread_mutex_t **mutex)
{
  pthread_mutex_unlock (*mutex);
}

#endif
