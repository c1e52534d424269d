/* Many threads that use something together, or one that has it alone.  A pthread_rwlock_t would do; but this one is
 * cheaper where nobody wants it alone, can be asked without waiting, and the one who takes it again and again lets all
 * in who wait in between. */
#ifndef ENGINE_EXCLUSION_H
#define ENGINE_EXCLUSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct exclusion {
  atomic_uint users;  /* threads inside together */
  atomic_bool closed; /* a thread is inside alone, or waits for the users to leave */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned waiting; /* users that want to enter; guarded by lock */
};

void exclusion_init (struct exclusion *x);
void exclusion_destroy (struct exclusion *x);

/* Alone: waits for the users inside, and before that for those who could not enter while it was last closed. */
void exclusion_close (struct exclusion *x);
void exclusion_open (struct exclusion *x);

/* The slow halves of the functions below. */
bool exclusion_enter_closed (struct exclusion *x, bool nowait);
void exclusion_left (struct exclusion *x);

static inline void
exclusion_leave (struct exclusion *x)
{
  if (atomic_fetch_sub (&x->users, 1) == 1 && atomic_load (&x->closed))
    exclusion_left (x);
}

/* False: closed, with nowait only.  Either this thread sees that it is closed, or the one who closes sees the user. */
static inline bool
exclusion_enter (struct exclusion *x, bool nowait)
{
  atomic_fetch_add (&x->users, 1);
  return !atomic_load (&x->closed) || exclusion_enter_closed (x, nowait);
}

#endif
