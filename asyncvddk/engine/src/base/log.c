/* Messages to the client's callbacks. */
#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/engine.h"

typedef VixDiskLibGenericLogFunc *callback;

static _Atomic (callback) log_callback, warn_callback; /* log_set_callbacks sets them */

void
log_set_callbacks (VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn)
{
  atomic_store (&log_callback, log);
  atomic_store (&warn_callback, warn);
}

static void
call (callback cb, const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  cb (fmt, args);
  va_end (args);
}

/* The text is formatted here: what a client does with a percent sign in a file's name is then of no matter. */
static void __attribute__ ((format (printf, 2, 0)))
emit (callback cb, const char *fmt, va_list args)
{
  CLEANUP_FREE char *text = NULL;

  if (cb == NULL)
    return;
  if (vasprintf (&text, fmt, args) < 0) {
    text = NULL;
    call (cb, "%s\n", "out of memory while formatting a message");
    return;
  }
  call (cb, "%s\n", text);
}

void
engine_log (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (atomic_load (&log_callback), fmt, args);
  va_end (args);
}

void
engine_warn (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (atomic_load (&warn_callback), fmt, args);
  va_end (args);
}
