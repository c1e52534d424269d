#define _GNU_SOURCE
#include "base/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/sysinfo.h>

#define MAX_HELPERS 7

struct work {
  void (*f) (void *opaque, unsigned i);
  void *opaque;
  unsigned n;
  atomic_uint next;
};

static void *
help (void *opaque)
{
  struct work *w = opaque;
  unsigned i;

  while ((i = atomic_fetch_add (&w->next, 1)) < w->n)
    w->f (w->opaque, i);
  return NULL;
}

/* The client's signals are not delivered to our threads. */
static unsigned
start_helpers (struct work *w, pthread_t *ids, unsigned n)
{
  sigset_t all, old;
  unsigned started = 0;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  while (started < n && pthread_create (&ids[started], NULL, help, w) == 0)
    ++started;
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  return started;
}

void
parallel (unsigned n, void (*f) (void *opaque, unsigned i), void *opaque)
{
  struct work w = { .f = f, .opaque = opaque, .n = n };
  const unsigned processors = (unsigned) get_nprocs ();
  unsigned helpers = processors - 1 < MAX_HELPERS ? processors - 1 : MAX_HELPERS;
  pthread_t ids[MAX_HELPERS];

  helpers = start_helpers (&w, ids, n == 0 ? 0 : helpers < n - 1 ? helpers : n - 1);
  help (&w);
  for (unsigned i = 0; i < helpers; ++i)
    pthread_join (ids[i], NULL);
}
