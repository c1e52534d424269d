/* Messages to the client's callbacks and to the log file. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/config.h"
#include "base/engine.h"

typedef VixDiskLibGenericLogFunc *callback;

enum level { WARNING = 1, MESSAGE = 3 }; /* on the scale of log.fileLevel */

static _Atomic (callback) log_callback, warn_callback, panic_callback; /* log_set_callbacks sets them */
static atomic_int file = -1;                                           /* log_open_file sets these two */
static unsigned file_level;

void
log_set_callbacks (VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic)
{
  atomic_store (&log_callback, log);
  atomic_store (&warn_callback, warn);
  atomic_store (&panic_callback, panic);
}

/* Its path, malloc'ed, or NULL: none is wanted. */
static char *
file_path (void)
{
  const char *name = config_get ("log.fileName"), *folder = config_get ("tmpDirectory");
  char *path = NULL;
  int length = 0;

  if (name != NULL && name[0] != '\0')
    length = name[0] == '/' || folder == NULL ? asprintf (&path, "%s", name) : asprintf (&path, "%s/%s", folder, name);
  else if (folder != NULL && atomic_load (&log_callback) == NULL)
    length = asprintf (&path, "%s/vixDiskLib-%d.log", folder, (int) getpid ());
  return length == -1 ? NULL : path;
}

void
log_open_file (void)
{
  CLEANUP_FREE char *path = file_path ();
  int fd;

  if (path == NULL)
    return;
  file_level = (unsigned) config_number ("log.fileLevel", MESSAGE, 0, 100);
  fd = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
  if (fd == -1)
    engine_warn ("log file %s: %s, there is none", path, strerror (errno));
  atomic_store (&file, fd);
}

void
log_close_file (void)
{
  int fd = atomic_exchange (&file, -1);

  if (fd != -1)
    close (fd);
}

/* One write each, so that lines of several threads and processes stay whole; a full disk loses them. */
static void
write_file (enum level level, const char *text)
{
  const int fd = atomic_load_explicit (&file, memory_order_relaxed);
  const time_t now = time (NULL);
  CLEANUP_FREE char *line = NULL;
  char stamp[32] = "";
  struct tm utc;
  int length;

  if (fd == -1 || level > file_level)
    return;
  if (gmtime_r (&now, &utc) != NULL)
    strftime (stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
  length = asprintf (&line, "%s %s: %s\n", stamp, level == WARNING ? "warning" : "info", text);
  if (length == -1)
    line = NULL;
  else if (write (fd, line, (size_t) length) == -1)
    return;
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
static void __attribute__ ((format (printf, 3, 0)))
emit (callback cb, enum level level, const char *fmt, va_list args)
{
  CLEANUP_FREE char *text = NULL;

  if (cb == NULL && atomic_load_explicit (&file, memory_order_relaxed) == -1)
    return;
  if (vasprintf (&text, fmt, args) < 0)
    text = NULL;
  write_file (level, text != NULL ? text : "out of memory while formatting a message");
  if (cb != NULL)
    call (cb, "%s\n", text != NULL ? text : "out of memory while formatting a message");
}

void
engine_log (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (atomic_load (&log_callback), MESSAGE, fmt, args);
  va_end (args);
}

void
engine_warn (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  emit (atomic_load (&warn_callback), WARNING, fmt, args);
  va_end (args);
}

void
engine_panic (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  if (atomic_load (&panic_callback) == NULL) {
    va_list copy;

    va_copy (copy, args);
    vfprintf (stderr, fmt, copy);
    fputc ('\n', stderr);
    va_end (copy);
  }
  emit (atomic_load (&panic_callback), WARNING, fmt, args);
  va_end (args);
  abort ();
}
