#include "calls/pace.h"

#include <errno.h>
#include <time.h>

#include "base/config.h"
#include "base/engine.h"

#define MAX_LATENCY_MS 600000
#define MAX_BANDWIDTH (1ul << 50)
#define SECOND_NS 1000000000ul

static uint64 latency_ns, bandwidth; /* bytes per second, 0: no limit.  pace_load sets both */

void
pace_load (void)
{
  latency_ns = config_number ("openEngine.latencyMs", 0, 0, MAX_LATENCY_MS) * 1000000;
  bandwidth = config_number ("openEngine.bandwidth", 0, 0, MAX_BANDWIDTH);
}

bool
pace_is_set (void)
{
  return latency_ns != 0 || bandwidth != 0;
}

static uint64
now_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64) t.tv_sec * SECOND_NS + (uint64) t.tv_nsec;
}

/* When the last byte has passed, if the first could at the earliest now.  Takes the lock. */
static uint64
pass (struct pace *line, uint64 bytes, uint64 now)
{
  SCOPED_LOCK (&line->lock);
  unsigned __int128 work;

  if (bandwidth == 0)
    return now;
  if (line->free_ns < now) {
    line->free_ns = now;
    line->rest = 0;
  }
  work = (unsigned __int128) bytes * SECOND_NS + line->rest;
  line->free_ns += (uint64) (work / bandwidth);
  line->rest = (uint64) (work % bandwidth);
  return line->free_ns;
}

void
pace_wait (struct pace *line, uint64 bytes)
{
  uint64 until;
  struct timespec at;

  if (!pace_is_set ())
    return;
  until = pass (line, bytes, now_ns () + latency_ns);
  at = (struct timespec){ (time_t) (until / SECOND_NS), (long) (until % SECOND_NS) };
  while (clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
    continue;
}
