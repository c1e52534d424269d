/* The thread of one connection: takes commands in order, calls, answers.
 *
 * No Python runs here, so neither a busy event loop nor a busy interpreter can hold a disk up.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define VIX_ASYNC 25000             /* "accepted" from ReadAsync and WriteAsync; all else is final */

struct core_worker {
  pthread_mutex_t lock;             /* guards all below but thread, port and number, which are constant */
  pthread_cond_t work;
  pthread_t thread;
  struct core_port *port;
  uint32_t number;
  struct core_command *queue;       /* ring buffer of room commands (a power of two), oldest at head */
  size_t head, count, room;
  bool sleeping;                    /* the thread waits for work */
  bool stopping;                    /* end once the queue is empty */
  bool abandoned;                   /* nobody waits any more; the thread frees the worker itself */
  bool ended;                       /* the thread has made its last call */
  bool look_again;                  /* guarded by turn.lock: see interrupt_turn */
  uint64_t stop_tag;                /* told when the thread has ended */
};

/* VDDK wants Connect, Open, Close and the like one at a time in the whole process: the worker whose turn it is. A mutex
 * would not do: the turn of a worker that hangs and is abandoned goes to the next.
 */
static struct {
  pthread_mutex_t lock;             /* guards owner; while a worker's lock is held it is only taken for an instant */
  pthread_cond_t free;
  struct core_worker *owner;
} turn = { .lock = PTHREAD_MUTEX_INITIALIZER, .free = PTHREAD_COND_INITIALIZER };

/* Returns false, without the turn, when the worker's queue has changed and is to be looked at again. */
static bool
take_turn (struct core_worker *w)
{
  bool taken;

  ACQUIRE (&turn.lock);
  while (turn.owner != NULL && !w->look_again)
    pthread_cond_wait (&turn.free, &turn.lock);
  taken = !w->look_again;
  w->look_again = false;
  if (taken)
    turn.owner = w;
  return taken;
}

/* The worker's thread may wait for its turn: have it look at its queue. */
static void
interrupt_turn (struct core_worker *w)
{
  ACQUIRE (&turn.lock);
  w->look_again = true;
  pthread_cond_broadcast (&turn.free);
}

static void
end_turn (struct core_worker *w)
{
  ACQUIRE (&turn.lock);
  if (turn.owner != w)
    return;
  turn.owner = NULL;
  pthread_cond_broadcast (&turn.free);
}

typedef uint64_t native_function (uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

struct async_request {
  struct core_port *port;
  uint64_t tag;
};

/* VixDiskLibCompletionCB: runs on the library's threads, or on ours before ReadAsync returns. */
static void
async_done (void *opaque, uint64_t result)
{
  struct async_request *request = opaque;

  core_port_push (request->port, request->tag, result);
  core_port_unref (request->port);
  free (request);
}

/* Calling through one type with more arguments than the function has is well behaved on the machines we build for
 * (x86_64 SysV, AAPCS64: integers and pointers in registers, the caller owns the rest).
 */
static uint64_t
invoke (const struct core_command *c)
{
  native_function *function = (native_function *) (uintptr_t) c->function;
  const uint64_t *a = c->args;

  return function (a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

/* Hand one read or write to the library. An answer that is not VIX_ASYNC is final: the library will not call back. */
static void
start_async (struct core_worker *w, struct core_command *c)
{
  struct async_request *request = malloc (sizeof *request);
  uint64_t result;

  if (request == NULL)
    abort ();                       /* as in core_port_push */
  *request = (struct async_request) { .port = w->port, .tag = c->tag };
  core_port_ref (w->port);
  c->args[4] = (uintptr_t) async_done;
  c->args[5] = (uintptr_t) request;
  result = invoke (c);
  if ((result & 0xffff) == VIX_ASYNC)
    return;
  core_port_unref (request->port);
  free (request);
  core_port_push (w->port, c->tag, result);
}

static void
run (struct core_worker *w, struct core_command *c)
{
  uint64_t result;

  core_current_tag = c->tag;
  if (c->mode & CORE_ASYNC) {
    start_async (w, c);
  }
  else {
    result = invoke (c);
    if (c->mode & CORE_SERIAL)
      end_turn (w);
    if (!(c->mode & CORE_POST))
      core_port_push (w->port, c->tag, result);
  }
  core_current_tag = 0;
}

/* Called with w->lock held. Returns the oldest command, still queued, or NULL when the worker is to end. */
static const struct core_command *
wait_for_work (struct core_worker *w)
{
  while (w->count == 0 && !w->stopping) {
    w->sleeping = true;
    pthread_cond_wait (&w->work, &w->lock);
    w->sleeping = false;
  }
  return w->count == 0 || w->abandoned ? NULL : &w->queue[w->head];
}

/* Take the oldest command, and the turn that it needs. Returns false when the worker is to end. A command that waits for
 * the turn can still be withdrawn.
 */
static bool
next_command (struct core_worker *w, struct core_command *c)
{
  const struct core_command *head;

  pthread_mutex_lock (&w->lock);
  while ((head = wait_for_work (w)) != NULL && head->mode & CORE_SERIAL) {
    bool taken;

    pthread_mutex_unlock (&w->lock);
    taken = take_turn (w);
    pthread_mutex_lock (&w->lock);
    head = &w->queue[w->head];
    if (taken && w->count > 0 && !w->abandoned && head->mode & CORE_SERIAL)
      break;
    if (taken)
      end_turn (w);                 /* withdrawn meanwhile */
  }
  if (head == NULL) {
    pthread_mutex_unlock (&w->lock);
    return false;
  }
  *c = *head;
  w->head = (w->head + 1) & (w->room - 1);
  w->count--;
  pthread_mutex_unlock (&w->lock);
  return true;
}

static void
free_worker (struct core_worker *w)
{
  core_port_unref (w->port);
  pthread_cond_destroy (&w->work);
  pthread_mutex_destroy (&w->lock);
  free (w->queue);
  free (w);
}

static void *
serve (void *opaque)
{
  struct core_worker *w = opaque;
  struct core_command c;
  bool abandoned;

  core_current_worker = w->number;
  while (next_command (w, &c))
    run (w, &c);
  pthread_mutex_lock (&w->lock);
  abandoned = w->abandoned;
  w->ended = true;
  if (!abandoned)
    core_port_push (w->port, w->stop_tag, 0);
  pthread_mutex_unlock (&w->lock);
  if (abandoned)
    free_worker (w);
  return NULL;
}

/* The program's signals are for its own threads: here one would only interrupt the library's system calls. */
static bool
start_thread (struct core_worker *w)
{
  sigset_t all, before;
  bool started;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  started = pthread_create (&w->thread, NULL, serve, w) == 0;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return started;
}

/* Start a thread that answers into port; name (at most 15 bytes are used) is shown by ps -L and debuggers.
 * Returns NULL when the system has no memory or thread left.
 */
CORE_API struct core_worker *
core_worker_start (struct core_port *port, uint32_t number, const char *name)
{
  struct core_worker *w = calloc (1, sizeof *w);
  char short_name[16];

  if (w == NULL)
    return NULL;
  w->port = port;
  w->number = number;
  pthread_mutex_init (&w->lock, NULL);
  pthread_cond_init (&w->work, NULL);
  core_port_ref (port);
  if (!start_thread (w)) {
    free_worker (w);
    return NULL;
  }
  snprintf (short_name, sizeof short_name, "%s", name);
  pthread_setname_np (w->thread, short_name);
  return w;
}

/* Called with w->lock held. Returns false when memory runs out. */
static bool
make_room (struct core_worker *w, size_t more)
{
  size_t room = w->room ? w->room : 64, i;
  struct core_command *queue;

  while (room < w->count + more)
    room *= 2;
  if (room == w->room)
    return true;
  queue = malloc (room * sizeof *queue);
  if (queue == NULL)
    return false;
  for (i = 0; i < w->count; i++)
    queue[i] = w->queue[(w->head + i) & (w->room - 1)];
  free (w->queue);
  w->queue = queue;
  w->room = room;
  w->head = 0;
  return true;
}

/* Queue n commands. Returns false, and queues none, when memory runs out. */
CORE_API bool
core_worker_submit (struct core_worker *w, const struct core_command *commands, uint32_t n)
{
  bool sleeping, fits;
  uint32_t i;

  pthread_mutex_lock (&w->lock);
  fits = make_room (w, n);
  for (i = 0; fits && i < n; i++)
    w->queue[(w->head + w->count++) & (w->room - 1)] = commands[i];
  sleeping = w->sleeping;
  pthread_mutex_unlock (&w->lock);
  if (fits && sleeping)                         /* unlocked: the thread would wake only to wait for the lock */
    pthread_cond_signal (&w->work);
  return fits;
}

/* Take a queued command back. Returns false when it runs or has run: its answer comes. */
CORE_API bool
core_worker_withdraw (struct core_worker *w, uint64_t tag)
{
  size_t i, mask = w->room - 1;

  ACQUIRE (&w->lock);
  for (i = 0; i < w->count; i++)
    if (w->queue[(w->head + i) & mask].tag == tag)
      break;
  if (i == w->count)
    return false;
  for (; i + 1 < w->count; i++)
    w->queue[(w->head + i) & mask] = w->queue[(w->head + i + 1) & mask];
  w->count--;
  interrupt_turn (w);
  return true;
}

/* Called with w->lock held. */
static uint64_t
oldest_tag (const struct core_worker *w)
{
  uint64_t tag = 0;
  size_t i;

  for (i = 0; i < w->count && tag == 0; i++)
    tag = w->queue[(w->head + i) & (w->room - 1)].tag;
  return tag;
}

/* Tag of the oldest command that is still queued and somebody waits for, 0 if there is none: those handed over before it
 * run or have run. A command that waits for its turn is queued.
 */
CORE_API uint64_t
core_worker_oldest (struct core_worker *w)
{
  ACQUIRE (&w->lock);
  return oldest_tag (w);
}

/* End the thread once its queue is empty; tag completes then. Nothing may be submitted afterwards. */
CORE_API void
core_worker_stop (struct core_worker *w, uint64_t tag)
{
  ACQUIRE (&w->lock);
  w->stopping = true;
  w->stop_tag = tag;
  pthread_cond_signal (&w->work);
  interrupt_turn (w);
}

/* Free a worker whose stop tag has completed. */
CORE_API void
core_worker_join (struct core_worker *w)
{
  pthread_join (w->thread, NULL);
  free_worker (w);
}

/* Give up a worker whose call may never return: queued commands are dropped, and the thread, should the call come
 * back, frees itself. The caller never uses w again. Returns what core_worker_oldest does, of the dropped ones.
 */
CORE_API uint64_t
core_worker_abandon (struct core_worker *w)
{
  uint64_t oldest;
  bool ended;

  pthread_detach (w->thread);
  end_turn (w);
  pthread_mutex_lock (&w->lock);
  w->abandoned = true;
  w->stopping = true;
  oldest = oldest_tag (w);
  w->count = 0;
  ended = w->ended;
  pthread_cond_signal (&w->work);
  interrupt_turn (w);
  pthread_mutex_unlock (&w->lock);
  if (ended)                        /* between its stop tag and core_worker_join */
    free_worker (w);
  return oldest;
}
