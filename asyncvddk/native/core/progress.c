/* VixDiskLibProgressFunc without Python: a percentage goes into the completion ring, a stop flag comes back. */
#include <stdatomic.h>
#include <stdlib.h>

#include "core.h"

struct core_progress {
  struct core_port *port;
  uint64_t tag;                     /* of the command that makes the call */
  int last;                         /* percentage told last; only the calling thread uses it */
  atomic_uint told;                 /* how often the library called, with whatever percentage: it is alive */
  atomic_bool stop;
};

/* Returns NULL when memory runs out. */
CORE_API struct core_progress *
core_progress_new (struct core_port *port, uint64_t tag)
{
  struct core_progress *p = malloc (sizeof *p);

  if (p == NULL)
    return NULL;
  *p = (struct core_progress) { .port = port, .tag = tag, .last = -1 };
  core_port_ref (port);
  return p;
}

/* Ask the call to end: it returns VIX_E_CANCELLED where the library heeds the callback's value. */
CORE_API void
core_progress_stop (struct core_progress *p)
{
  atomic_store (&p->stop, true);
}

CORE_API uint32_t
core_progress_told (struct core_progress *p)
{
  return atomic_load (&p->told);
}

/* Only after the call has returned. */
CORE_API void
core_progress_free (struct core_progress *p)
{
  core_port_unref (p->port);
  free (p);
}

/* The callback itself; opaque is a struct core_progress. */
CORE_API char
core_progress_tell (void *opaque, int percent)
{
  struct core_progress *p = opaque;

  atomic_fetch_add (&p->told, 1);
  if (percent != p->last) {
    p->last = percent;
    core_port_push (p->port, p->tag | CORE_PROGRESS, (uint64_t) percent);
  }
  return !atomic_load (&p->stop);
}
