/* A count of users that one can wait to become zero. */
#ifndef ENGINE_GATE_H
#define ENGINE_GATE_H

#include <pthread.h>
#include <stdatomic.h>

/* Lives for ever, zeroed memory is a valid gate: gate_leave may touch it after gate_wait has returned. */
struct gate {
  atomic_uint users;
  atomic_uint waiters; /* threads in gate_wait */
  pthread_mutex_t lock;
  pthread_cond_t empty;
};

static inline void
gate_enter (struct gate *gate)
{
  atomic_fetch_add (&gate->users, 1);
}

/* Locks only if somebody waits. */
static inline void
gate_leave (struct gate *gate)
{
  if (atomic_fetch_sub (&gate->users, 1) > 1 || atomic_load (&gate->waiters) == 0)
    return;
  pthread_mutex_lock (&gate->lock);
  pthread_cond_broadcast (&gate->empty);
  pthread_mutex_unlock (&gate->lock);
}

/* Returns once nobody is inside.  A user who leaves sees the waiter, or the waiter sees that he has left. */
static inline void
gate_wait (struct gate *gate)
{
  pthread_mutex_lock (&gate->lock);
  atomic_fetch_add (&gate->waiters, 1);
  while (atomic_load (&gate->users) != 0)
    pthread_cond_wait (&gate->empty, &gate->lock);
  atomic_fetch_sub (&gate->waiters, 1);
  pthread_mutex_unlock (&gate->lock);
}

#endif
