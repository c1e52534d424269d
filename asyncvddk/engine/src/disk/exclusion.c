#include "disk/exclusion.h"

void
exclusion_init (struct exclusion *x)
{
  pthread_mutex_init (&x->lock, NULL);
  pthread_cond_init (&x->changed, NULL);
}

void
exclusion_destroy (struct exclusion *x)
{
  pthread_mutex_destroy (&x->lock);
  pthread_cond_destroy (&x->changed);
}

/* Takes the user back who found it closed, and lets him in when it opens.  False with nowait. */
bool
exclusion_enter_closed (struct exclusion *x, bool nowait)
{
  exclusion_leave (x);
  if (nowait)
    return false;
  pthread_mutex_lock (&x->lock);
  x->waiting++;
  while (atomic_load (&x->closed))
    pthread_cond_wait (&x->changed, &x->lock);
  atomic_fetch_add (&x->users, 1);
  if (--x->waiting == 0)
    pthread_cond_broadcast (&x->changed);
  pthread_mutex_unlock (&x->lock);
  return true;
}

/* The last user has left. */
void
exclusion_left (struct exclusion *x)
{
  pthread_mutex_lock (&x->lock);
  pthread_cond_broadcast (&x->changed);
  pthread_mutex_unlock (&x->lock);
}

void
exclusion_close (struct exclusion *x)
{
  pthread_mutex_lock (&x->lock);
  while (atomic_load (&x->closed) || x->waiting > 0)
    pthread_cond_wait (&x->changed, &x->lock);
  atomic_store (&x->closed, true);
  while (atomic_load (&x->users) > 0)
    pthread_cond_wait (&x->changed, &x->lock);
  pthread_mutex_unlock (&x->lock);
}

void
exclusion_open (struct exclusion *x)
{
  pthread_mutex_lock (&x->lock);
  atomic_store (&x->closed, false);
  pthread_cond_broadcast (&x->changed);
  pthread_mutex_unlock (&x->lock);
}
