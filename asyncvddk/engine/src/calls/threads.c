#include "calls/threads.h"

#include <stddef.h>
#include <strings.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"

static atomic_bool threads_checked; /* threads_load sets these three */
static bool abort_process;
static pid_t process;

static struct turn serial;

void
threads_load (void)
{
  const char *mode = config_get ("openEngine.checkThreads");
  bool on = mode != NULL && (strcasecmp (mode, "abort") == 0 || strcasecmp (mode, "warn") == 0);

  if (mode != NULL && !on && strcasecmp (mode, "off") != 0)
    engine_warn ("openEngine.checkThreads = \"%s\": expected abort, warn or off; off is used", mode);
  abort_process = on && strcasecmp (mode, "abort") == 0;
  process = getpid ();
  atomic_store (&serial.callers, 0);
  atomic_store (&threads_checked, on);
}

void
threads_forget (void)
{
  atomic_store (&threads_checked, false);
}

static bool
is_checked (void)
{
  return atomic_load_explicit (&threads_checked, memory_order_relaxed);
}

int
threads_self (void)
{
  return is_checked () ? (int) gettid () : 0;
}

#define COMPLAIN(...)                                                                                                    \
  do {                                                                                                                   \
    if (abort_process)                                                                                                   \
      engine_panic (__VA_ARGS__);                                                                                        \
    engine_warn (__VA_ARGS__);                                                                                           \
  } while (0)

static void
check_process (const char *function)
{
  if (getpid () != process)
    COMPLAIN ("%s in process %d, but InitEx was in %d: the library's threads do not survive fork (openEngine.checkThreads)",
              function, (int) getpid (), (int) process);
}

/* rule: why it is wrong that somebody else is in. */
static void
enter (struct turn *turn, const char *function, const char *rule)
{
  check_process (function);
  if (atomic_fetch_add (&turn->callers, 1) > 0) {
    const char *other = atomic_load (&turn->function);

    COMPLAIN ("%s on thread %d while %s runs on thread %d: %s (openEngine.checkThreads)", function, (int) gettid (),
              other != NULL ? other : "another call", atomic_load (&turn->thread), rule);
  }
  atomic_store (&turn->thread, (int) gettid ());
  atomic_store (&turn->function, function);
}

void
threads_enter_disk (struct turn *turn, const char *function)
{
  if (is_checked ())
    enter (turn, function, "an open disk may be used by one call at a time");
}

void
threads_leave (struct turn *turn)
{
  if (is_checked ())
    atomic_fetch_sub (&turn->callers, 1);
}

void
threads_same (int owner, const char *function, const char *what)
{
  if (is_checked () && owner != 0 && owner != (int) gettid ())
    COMPLAIN ("%s on thread %d, but the %s was made on thread %d: its life is to be on one thread "
              "(openEngine.checkThreads)",
              function, (int) gettid (), what, owner);
}

const char *
threads_enter_serial (const char *function)
{
  if (is_checked ())
    enter (&serial, function, "calls that connect, open, close or change files run one at a time in a process");
  return function;
}

void
threads_leave_serial (const char **function)
{
  (void) function;
  threads_leave (&serial);
}
