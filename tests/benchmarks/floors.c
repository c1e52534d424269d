/* What no design can beat: the bare calls in C threads, and a bare hand-over between two threads. For the scripts beside
 * this file, which compile it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

typedef uint64_t read_function (void *handle, uint64_t start, uint64_t count, void *buffer);

struct reader {
  pthread_t thread;
  read_function *read;
  void *handle;
  uint64_t first, step, reads, span; /* sectors; span is the disk's size */
  uint64_t result;
};

static void *
read_on (void *opaque)
{
  struct reader *r = opaque;
  char *buffer = aligned_alloc (4096, (r->step * 512 + 4095) / 4096 * 4096);
  uint64_t at = r->first, n;

  for (n = 0; n < r->reads; n++, at = (at + r->step) % r->span)
    r->result |= r->read (r->handle, at, r->step, buffer);
  free (buffer);
  return NULL;
}

/* Threads that read one handle each, from places spread over the disk, size bytes at a time. Returns 0, or what a read
 * returned.
 */
uint64_t
floor_threads (read_function *read, void **handles, uint64_t threads, uint64_t size, uint64_t reads, uint64_t disk_size)
{
  struct reader readers[64];
  const uint64_t step = size / 512, slots = disk_size / size;
  uint64_t result = 0, n;

  if (threads > 64)
    return ~0ull;
  for (n = 0; n < threads; n++) {
    readers[n] = (struct reader) { .read = read, .handle = handles[n], .step = step, .reads = reads,
                                   .first = slots * n / threads * step, .span = slots * step };
    if (pthread_create (&readers[n].thread, NULL, read_on, &readers[n]) != 0)
      abort ();
  }
  for (n = 0; n < threads; n++) {
    pthread_join (readers[n].thread, NULL);
    result |= readers[n].result;
  }
  return result;
}

/* A thread that is asked under a lock and answers into an eventfd: what a connection's thread does, without the call. */
struct echo {
  pthread_mutex_t lock;
  pthread_cond_t asked;
  pthread_t thread;
  unsigned questions;
  bool stopping;
  int fd;
};

static void *
answer (void *opaque)
{
  struct echo *e = opaque;

  pthread_mutex_lock (&e->lock);
  for (;;) {
    while (e->questions == 0 && !e->stopping)
      pthread_cond_wait (&e->asked, &e->lock);
    if (e->stopping)
      break;
    e->questions = 0;
    pthread_mutex_unlock (&e->lock);
    eventfd_write (e->fd, 1);
    pthread_mutex_lock (&e->lock);
  }
  pthread_mutex_unlock (&e->lock);
  return NULL;
}

struct echo *
echo_start (int fd)
{
  struct echo *e = calloc (1, sizeof *e);

  pthread_mutex_init (&e->lock, NULL);
  pthread_cond_init (&e->asked, NULL);
  e->fd = fd;
  if (pthread_create (&e->thread, NULL, answer, e) != 0)
    abort ();
  return e;
}

static void
tell (struct echo *e, bool stop)
{
  pthread_mutex_lock (&e->lock);
  e->questions++;
  e->stopping = stop;
  pthread_mutex_unlock (&e->lock);
  pthread_cond_signal (&e->asked);
}

void
echo_ask (struct echo *e)
{
  tell (e, false);
}

void
echo_stop (struct echo *e)
{
  tell (e, true);
  pthread_join (e->thread, NULL);
  free (e);
}

/* Ask and wait, so many times; fd is blocking here. The nanoseconds of each go to times. */
void
echo_ping_pong (struct echo *e, uint64_t *times, uint64_t rounds)
{
  struct timespec before, after;
  eventfd_t ignored;
  uint64_t n;

  for (n = 0; n < rounds; n++) {
    clock_gettime (CLOCK_MONOTONIC, &before);
    tell (e, false);
    eventfd_read (e->fd, &ignored);
    clock_gettime (CLOCK_MONOTONIC, &after);
    times[n] = (uint64_t) (after.tv_sec - before.tv_sec) * 1000000000u + (uint64_t) (after.tv_nsec - before.tv_nsec);
  }
}

typedef void completion (void *data, uint64_t result);
typedef uint64_t read_async (void *handle, uint64_t start, uint64_t count, void *buffer, completion *done, void *data);

static read_async *real_read_async;
static uint64_t *stamps; /* by number of the disk's slot of size sectors */
static uint64_t slot_sectors;

struct stamped {
  completion *done;
  void *data;
  uint64_t slot;
};

static void
stamp (void *opaque, uint64_t result)
{
  struct stamped s = *(struct stamped *) opaque;
  struct timespec now;

  free (opaque);
  clock_gettime (CLOCK_MONOTONIC, &now);
  stamps[s.slot] = (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
  s.done (s.data, result);
}

void
stamp_into (read_async *function, uint64_t *into, uint64_t slot_size)
{
  real_read_async = function;
  stamps = into;
  slot_sectors = slot_size / 512;
}

/* In the place of ReadAsync: notes, for the slot that is read, when the library has completed the request. */
uint64_t
stamped_read_async (void *handle, uint64_t start, uint64_t count, void *buffer, completion *done, void *data)
{
  struct stamped *s = malloc (sizeof *s);
  uint64_t result;

  *s = (struct stamped) { .done = done, .data = data, .slot = start / slot_sectors };
  result = real_read_async (handle, start, count, buffer, stamp, s);
  if ((result & 0xffff) != 25000)
    free (s);
  return result;
}
