/* Which areas of a chain are allocated.  The tables of a disk of many terabytes lie scattered over their files, and to
 * find and read them takes system calls by the ten thousand: several threads look through a part of the disk each. */
#define _GNU_SOURCE
#include "disk/allocated.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#define MAX_PARTS 8
#define MIN_PART_SECTORS (1ull << 29) /* less is not worth a thread */

struct area {
  uint64_t start, end;
};

/* A part of a question, which begins and ends at chunks, and the answer to it. */
struct part {
  struct question q;
  struct area *areas; /* of whole chunks, ascending, never touching */
  size_t n_areas, room;
  VixError result;
  pthread_t thread;
};

/* Makes room for one area. */
static VixError
make_room (struct part *p)
{
  const size_t room = p->room ? 2 * p->room : 64;
  struct area *areas = p->n_areas < p->room ? p->areas : realloc (p->areas, room * sizeof *areas);

  if (!areas)
    return report_no_memory ();
  p->room = p->n_areas < p->room ? p->room : room;
  p->areas = areas;
  return VIX_OK;
}

static VixError
add_area (struct part *p, struct area area)
{
  struct area *last = p->n_areas > 0 ? &p->areas[p->n_areas - 1] : NULL;
  VixError r;

  if (last && area.start <= last->end) {
    last->end = area.end > last->end ? area.end : last->end;
    return VIX_OK;
  }
  r = make_room (p);
  if (r == VIX_OK)
    p->areas[p->n_areas++] = area;
  return r;
}

/* scan_function. */
static VixError
add_run (void *opaque, uint64_t start, uint64_t count, enum run_kind kind)
{
  struct part *p = opaque;
  const struct question *q = &p->q;
  const uint64_t inside = start - q->start;

  if (kind == RUN_PARENT || (kind == RUN_ZERO && !q->zeros_count))
    return VIX_OK;
  return add_area (p, (struct area){ .start = start - inside % q->chunk,
                                     .end = q->start + (inside + count + q->chunk - 1) / q->chunk * q->chunk });
}

static void *
answer_part (void *opaque)
{
  struct part *p = opaque;

  p->result = chain_scan (p->q.link, p->q.start, p->q.count, add_run, p);
  return NULL;
}

static size_t
count_parts (const struct question *q)
{
  const uint64_t worthwhile = q->count / (q->chunk > MIN_PART_SECTORS ? q->chunk : MIN_PART_SECTORS);
  cpu_set_t set;
  size_t n = MAX_PARTS;

  CPU_ZERO (&set);
  if (worthwhile > 1 && sched_getaffinity (0, sizeof set, &set) == 0 && (size_t) CPU_COUNT (&set) < n)
    n = (size_t) CPU_COUNT (&set);
  if (worthwhile < n)
    n = (size_t) worthwhile;
  return n > 0 ? n : 1;
}

static void
divide (const struct question *q, struct part *parts, size_t n)
{
  const uint64_t each = q->count / n / q->chunk * q->chunk;

  for (size_t i = 0; i < n; ++i) {
    parts[i] = (struct part){ .q = *q };
    parts[i].q.start += i * each;
    parts[i].q.count = i + 1 < n ? each : q->count - i * each;
  }
}

/* The first part is this thread's, and so is every other one that finds no thread. */
static void
answer_parts (struct part *parts, size_t n)
{
  bool started[MAX_PARTS] = { false };
  sigset_t all, old;

  sigfillset (&all); /* the client's signals are not delivered to our threads */
  pthread_sigmask (SIG_SETMASK, &all, &old);
  for (size_t i = 1; i < n; ++i)
    started[i] = pthread_create (&parts[i].thread, NULL, answer_part, &parts[i]) == 0;
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  for (size_t i = 0; i < n; ++i)
    if (!started[i])
      answer_part (&parts[i]);
  for (size_t i = 1; i < n; ++i)
    if (started[i])
      pthread_join (parts[i].thread, NULL);
}

/* The last chunk of the disk may be cut. */
static VixError
emit_areas (const struct question *q, const struct part *all, emit_function *emit, void *opaque)
{
  const uint64_t end = q->start + q->count;

  for (size_t i = 0; i < all->n_areas; ++i) {
    const struct area *a = &all->areas[i];

    if (!emit (opaque, a->start, (a->end < end ? a->end : end) - a->start))
      return report_no_memory ();
  }
  return VIX_OK;
}

VixError
allocated_answer (const struct question *q, emit_function *emit, void *opaque)
{
  struct part parts[MAX_PARTS];
  const size_t n = count_parts (q);
  VixError r = VIX_OK;

  divide (q, parts, n);
  answer_parts (parts, n);
  for (size_t i = 0; i < n; ++i) { /* areas that touch where two parts meet become one */
    r = r == VIX_OK ? parts[i].result : r;
    for (size_t k = 0; r == VIX_OK && i > 0 && k < parts[i].n_areas; ++k)
      r = add_area (&parts[0], parts[i].areas[k]);
  }
  if (r == VIX_OK)
    r = emit_areas (q, &parts[0], emit, opaque);
  for (size_t i = 0; i < n; ++i)
    free (parts[i].areas);
  return r;
}
