/* The completion ring of one event loop: any thread pushes, the loop drains.
 *
 * The loop sleeps on an eventfd. It is written once for many completions: only the push that finds the ring
 * unsignalled writes, and the ring becomes unsignalled when a drain has emptied it. A busy loop therefore gets its
 * completions in batches and costs the pushing threads no system call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core.h"

/* Lock order: log.c takes a port's lock inside its own, so nothing of log.c is called under a port's. */
struct core_port {
  pthread_mutex_t lock;             /* guards everything below but fd, which is constant */
  int fd;
  size_t refs;                      /* Python, each worker, each accepted asynchronous request */
  bool closed;                      /* the loop is gone: pushes are dropped */
  bool signalled;                   /* the eventfd was written and not yet drained */
  struct core_completion *items;
  size_t count, room;
};

/* Returns NULL (errno) when memory or descriptors run out. */
CORE_API struct core_port *
core_port_new (void)
{
  struct core_port *port = calloc (1, sizeof *port);

  if (port == NULL)
    return NULL;
  port->fd = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (port->fd == -1) {
    free (port);
    return NULL;
  }
  port->refs = 1;
  pthread_mutex_init (&port->lock, NULL);
  return port;
}

CORE_API int
core_port_fd (struct core_port *port)
{
  return port->fd;
}

void
core_port_ref (struct core_port *port)
{
  ACQUIRE (&port->lock);
  port->refs++;
}

void
core_port_unref (struct core_port *port)
{
  size_t left;

  pthread_mutex_lock (&port->lock);
  left = --port->refs;
  pthread_mutex_unlock (&port->lock);
  if (left > 0)
    return;
  pthread_mutex_destroy (&port->lock);
  close (port->fd);
  free (port->items);
  free (port);
}

/* Python lets go: what still comes is dropped. The descriptor stays valid until the last reference is gone, so that
 * a late push can never write into a stranger's file.
 */
CORE_API void
core_port_close (struct core_port *port)
{
  pthread_mutex_lock (&port->lock);
  port->closed = true;
  port->count = 0;
  pthread_mutex_unlock (&port->lock);
  core_port_unref (port);
}

/* Called with port->lock held. Returns true when the caller is the one to wake the loop, after unlocking: threads that
 * push meanwhile need not wait for the system call.
 */
static bool
must_signal (struct core_port *port)
{
  bool first = !port->signalled;

  port->signalled = true;
  return first;
}

/* Cannot fail: the counter is far from its limit, and a full one would wake the loop as well. The caller's reference
 * keeps the descriptor open.
 */
static void
signal_loop (struct core_port *port)
{
  while (eventfd_write (port->fd, 1) == -1 && errno == EINTR)
    ;
}

/* A lost answer would leave its task waiting for ever: without memory for 16 bytes there is no way on. */
static void
reserve (struct core_port *port)
{
  size_t room = port->room ? 2 * port->room : 64;
  struct core_completion *items;

  if (port->count < port->room)
    return;
  items = realloc (port->items, room * sizeof *items);
  if (items == NULL)
    abort ();
  port->items = items;
  port->room = room;
}

void
core_port_push (struct core_port *port, uint64_t tag, uint64_t result)
{
  bool first = false;

  pthread_mutex_lock (&port->lock);
  if (!port->closed) {
    reserve (port);
    port->items[port->count++] = (struct core_completion) { .tag = tag, .result = result };
    first = must_signal (port);
  }
  pthread_mutex_unlock (&port->lock);
  if (first)
    signal_loop (port);
}

/* Wake the loop although nothing has completed (log messages wait). */
CORE_API void
core_port_wake (struct core_port *port)
{
  bool first;

  pthread_mutex_lock (&port->lock);
  first = !port->closed && must_signal (port);
  pthread_mutex_unlock (&port->lock);
  if (first)
    signal_loop (port);
}

/* Move up to max completions to out, oldest first. Returns their number, with CORE_LOGGED when log messages wait. When
 * more are left the loop is woken again. Without a port (in a forked child) there is nothing.
 */
CORE_API uint32_t
core_port_drain (struct core_port *port, struct core_completion *out, uint32_t max)
{
  eventfd_t ignored;
  bool more;
  size_t n;

  if (port == NULL)
    return 0;
  eventfd_read (port->fd, &ignored);
  pthread_mutex_lock (&port->lock);
  n = port->count < max ? port->count : max;
  if (n > 0)
    memcpy (out, port->items, n * sizeof *out);
  port->count -= n;
  if (port->count > 0)
    memmove (port->items, port->items + n, port->count * sizeof *out);
  more = port->count > 0;
  port->signalled = more;
  pthread_mutex_unlock (&port->lock);
  if (more)
    signal_loop (port);
  return (uint32_t) n | (core_log_waits () ? CORE_LOGGED : 0);
}
