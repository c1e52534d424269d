/* Asynchronous requests: what waits for a device, or writes, is for a pool of threads of the process. Reads of cached data
 * are copied by the client's thread that asks, unless a helper from the pool is free to.
 */
#include "calls/async.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "base/config.h"
#include "base/engine.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"

#define MAX_THREADS 256
#define DEFAULT_THREADS 16
#define INLINE_SECTORS (65536 / VIXDISKLIB_SECTOR_SIZE) /* larger copies take longer than handing over does */
#define LARGE_SECTORS (1048576 / VIXDISKLIB_SECTOR_SIZE) /* larger ones take long anyway: a helper saves more */
#define CROWDED_NS 2000000          /* a helper that lost its processor for so long shares it with somebody busy */
#define CROWDED_FOR_NS 2000000000   /* one read in thousands finds out whether that is still so */

struct job {
  struct job *next;
  struct request request;
  bool helping; /* its data is probably cached: counted in pool.helpers */
};

static struct {
  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t work;  /* a job came, or stopping */
  struct job *head, *tail;
  unsigned queued, idle, threads;
  unsigned helpers, max_helpers; /* jobs that copy cached data beside the client's threads */
  bool stopping;
  pthread_t ids[MAX_THREADS];
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };

static unsigned max_threads = DEFAULT_THREADS; /* async_load sets these two */
static bool synchronous;

static atomic_uint_least64_t crowded_until; /* CLOCK_MONOTONIC, ns */

static _Thread_local const struct handle *calling_back; /* whose callback runs on this thread */

/* Those that this process may use: containers and taskset leave it fewer than the machine has. */
static unsigned
count_processors (void)
{
  cpu_set_t usable;

  if (sched_getaffinity (0, sizeof usable, &usable) == 0 && CPU_COUNT (&usable) > 0)
    return (unsigned) CPU_COUNT (&usable);
  return (unsigned) get_nprocs ();
}

void
async_load (void)
{
  max_threads = (unsigned) config_number ("openEngine.threads", DEFAULT_THREADS, 1, MAX_THREADS);
  synchronous = !config_switch ("openEngine.async", true);
  pool.max_helpers = count_processors (); /* so none waits for work while the client's thread copies, too */
  if (pool.max_helpers == 1)
    pool.max_helpers = 0; /* it would only take turns with the client's */
}

bool
async_in_callback (const struct handle *handle)
{
  return calling_back == handle;
}

bool
async_in_any_callback (void)
{
  return calling_back != NULL;
}

/* The result of the request, or DISK_WOULD_BLOCK with nowait. */
static VixError
perform (const struct request *r, bool nowait)
{
  struct disk *disk = r->handle->disk;

  if (r->count == 0)
    return VIX_OK;
  if (r->operation == OPERATION_READ)
    return disk_read (disk, r->start, r->count, r->buffer.in, nowait);
  return disk_write (disk, r->start, r->count, r->buffer.out);
}

static void
call_back (const struct request *r, VixError err)
{
  const struct handle *outer = calling_back;
  VixError fault = fault_check (r->operation == OPERATION_READ ? "ReadAsync.callback" : "WriteAsync.callback");

  calling_back = r->handle;
  r->callback (r->data, fault != VIX_OK ? fault : err);
  calling_back = outer;
}

static void
serve (const struct request *r)
{
  pace_wait (&r->handle->pace, r->count * VIXDISKLIB_SECTOR_SIZE);
  call_back (r, perform (r, false));
}

/* NULL: the pool stops and nothing is left to do.  The caller holds the lock. */
static struct job *
next_job (void)
{
  struct job *job;

  while (pool.head == NULL && !pool.stopping) {
    pool.idle++;
    pthread_cond_wait (&pool.work, &pool.lock);
    pool.idle--;
  }
  job = pool.head;
  if (job != NULL) {
    pool.head = job->next;
    pool.queued--;
  }
  return job;
}

static uint64
now_ns (clockid_t clock)
{
  struct timespec t;

  clock_gettime (clock, &t);
  return (uint64) t.tv_sec * 1000000000 + (uint64) t.tv_nsec;
}

/* As perform without waiting; notes when this thread has lost its processor meanwhile. */
static VixError
perform_watched (const struct request *r)
{
  const uint64 wall = now_ns (CLOCK_MONOTONIC), own = now_ns (CLOCK_THREAD_CPUTIME_ID);
  const VixError err = perform (r, true);
  const uint64 end = now_ns (CLOCK_MONOTONIC), used = now_ns (CLOCK_THREAD_CPUTIME_ID) - own;

  if (end - wall > used + CROWDED_NS)
    atomic_store_explicit (&crowded_until, end + CROWDED_FOR_NS, memory_order_relaxed);
  return err;
}

/* Takes the lock. */
static void
end_help (void)
{
  SCOPED_LOCK (&pool.lock);

  pool.helpers--;
}

/* As serve, for a read whose data is probably cached. */
static void
help (const struct request *r)
{
  const VixError err = perform_watched (r);

  end_help ();
  if (err == DISK_WOULD_BLOCK)
    serve (r);
  else
    call_back (r, err);
}

static void *
worker (void *unused)
{
  (void) unused;
  for (;;) {
    struct job *job;
    struct handle *handle;

    pthread_mutex_lock (&pool.lock);
    job = next_job ();
    pthread_mutex_unlock (&pool.lock);
    if (job == NULL)
      return NULL;
    handle = job->request.handle;
    if (job->helping)
      help (&job->request);
    else
      serve (&job->request);
    free (job);
    gate_leave (&handle->requests);
  }
}

/* The client's signals are not delivered to our threads.  Nonzero: errno of pthread_create.  The caller holds the lock. */
static int
start_thread (void)
{
  sigset_t all, old;
  int err;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  err = pthread_create (&pool.ids[pool.threads], NULL, worker, NULL);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  if (err == 0) {
    pthread_setname_np (pool.ids[pool.threads], "vixdisklib-io");
    pool.threads++;
  }
  return err;
}

/* False: no thread at all could be started.  Locks the queue. */
static bool
enqueue (struct job *job)
{
  SCOPED_LOCK (&pool.lock);

  if (pool.queued >= pool.idle && pool.threads < max_threads && start_thread () != 0 && pool.threads == 0)
    return false;
  if (pool.head == NULL)
    pool.head = job;
  else
    pool.tail->next = job;
  pool.tail = job;
  pool.queued++;
  pthread_cond_signal (&pool.work);
  return true;
}

/* helping: the caller has asked may_help.  VIX_ASYNC or VIX_E_OUT_OF_MEMORY.  Takes the lock. */
static VixError
hand_over (const struct request *request, bool helping)
{
  struct job *job = calloc (1, sizeof *job);
  struct gate *requests = &request->handle->requests;

  if (job != NULL) {
    job->request = *request;
    job->helping = helping;
    gate_enter (requests);
    if (enqueue (job))
      return VIX_ASYNC;
    gate_leave (requests);
    free (job);
  }
  if (helping)
    end_help ();
  engine_warn ("no thread can be started for asynchronous requests");
  return VIX_E_OUT_OF_MEMORY;
}

/* A client that submits the next read from each callback would otherwise use up the stack. */
static bool
probably_cached (const struct request *r)
{
  return r->operation == OPERATION_READ && !pace_is_set () && calling_back == NULL;
}

static bool
crowded (void)
{
  return now_ns (CLOCK_MONOTONIC) < atomic_load_explicit (&crowded_until, memory_order_relaxed);
}

/* True: a helper is free for a copy that is worth handing over; the caller hands it over as one that helps.  Where a
 * client keeps the processors busy helpers would wait for their time slices, and the reads with them.  Takes the lock.
 */
static bool
may_help (const struct request *r)
{
  if (r->count <= INLINE_SECTORS || (r->count <= LARGE_SECTORS && crowded ()))
    return false;
  SCOPED_LOCK (&pool.lock);
  if (pool.helpers >= pool.max_helpers || (pool.queued >= pool.idle && pool.threads >= max_threads))
    return false;
  pool.helpers++;
  return true;
}

/* A stream is written where it is asked for, on this thread: threads of the pool would overtake each other.  The stream
 * has helpers of its own for what takes time.  From inside of a callback the stack is no place for it. */
static bool
must_keep_order (const struct request *r)
{
  return r->operation == OPERATION_WRITE && calling_back == NULL && disk_writes_in_order (r->handle->disk);
}

VixError
async_submit (const struct request *request)
{
  VixError err;

  if (synchronous || must_keep_order (request)) {
    serve (request);
    return VIX_ASYNC;
  }
  if (!probably_cached (request))
    return hand_over (request, false);
  if (may_help (request))
    return hand_over (request, true);
  err = perform (request, true);
  if (err == DISK_WOULD_BLOCK)
    return hand_over (request, false);
  call_back (request, err);
  return VIX_ASYNC;
}

void
async_stop (void)
{
  unsigned threads;

  pthread_mutex_lock (&pool.lock);
  pool.stopping = true;
  threads = pool.threads;
  pthread_cond_broadcast (&pool.work);
  pthread_mutex_unlock (&pool.lock);
  for (unsigned i = 0; i < threads; i++)
    pthread_join (pool.ids[i], NULL);
  pthread_mutex_lock (&pool.lock);
  pool.threads = 0;
  pool.stopping = false;
  pthread_mutex_unlock (&pool.lock);
}
