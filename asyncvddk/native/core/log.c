/* The library's log callbacks: they come from any thread, take a va_list, and must neither block nor call back.
 *
 * A message is formatted at once and kept in a bounded queue; the event loop fetches it. When nobody fetches, the
 * newest messages are counted and dropped.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core.h"

#define LOG_SLOTS 1024
#define LOG_TEXT 4096               /* longer messages are cut */

_Thread_local uint64_t core_current_tag;
_Thread_local uint32_t core_current_worker;

static struct {
  pthread_mutex_t lock;             /* guards all below */
  struct core_port *port;           /* woken for a message */
  struct { struct core_log_message head; char *text; } slots[LOG_SLOTS];
  size_t first, count;
  uint64_t dropped;
} ring = { .lock = PTHREAD_MUTEX_INITIALIZER };

bool
core_log_waits (void)
{
  ACQUIRE (&ring.lock);
  return ring.count > 0;
}

/* Name the port whose loop fetches messages, NULL for none. */
CORE_API void
core_log_attach (struct core_port *port)
{
  struct core_port *old;

  if (port)
    core_port_ref (port);
  pthread_mutex_lock (&ring.lock);
  old = ring.port;
  ring.port = port;
  pthread_mutex_unlock (&ring.lock);
  if (old)
    core_port_unref (old);
}

/* Takes text over. Returns the port to wake with a reference, or NULL. */
static struct core_port *
enqueue (uint32_t level, char *text)
{
  size_t slot;

  ACQUIRE (&ring.lock);
  if (ring.count == LOG_SLOTS) {
    ring.dropped++;
    free (text);
    return NULL;
  }
  slot = (ring.first + ring.count++) % LOG_SLOTS;
  ring.slots[slot].head =
    (struct core_log_message) { .tag = core_current_tag, .worker = core_current_worker, .level = level };
  ring.slots[slot].text = text;
  if (ring.port)
    core_port_ref (ring.port);
  return ring.port;
}

static void
keep (uint32_t level, const char *format, va_list args)
{
  struct core_port *port;
  char *text = malloc (LOG_TEXT);

  if (text == NULL)
    return;
  if (vsnprintf (text, LOG_TEXT, format, args) < 0)
    text[0] = '\0';
  port = enqueue (level, text);
  if (port == NULL)
    return;
  core_port_wake (port);
  core_port_unref (port);
}

/* The three VixDiskLibGenericLogFunc. */
CORE_API void
core_log_info (const char *format, va_list args)
{
  keep (0, format, args);
}

CORE_API void
core_log_warn (const char *format, va_list args)
{
  keep (1, format, args);
}

/* The library ends the process when this returns, before any loop could fetch the message: say it on stderr. */
CORE_API void
core_log_panic (const char *format, va_list args)
{
  char text[LOG_TEXT];
  int n = vsnprintf (text, sizeof text, format, args);

  if (n > (int) sizeof text - 1)
    n = (int) sizeof text - 1;
  if (n > 0)
    dprintf (2, "VixDiskLib panic: %.*s\n", n, text);
}

/* Fetch the oldest message into head and text (room bytes, NUL-terminated). Returns false when none waits. */
CORE_API bool
core_log_pop (struct core_log_message *head, char *text, size_t room)
{
  ACQUIRE (&ring.lock);
  if (ring.count == 0)
    return false;
  *head = ring.slots[ring.first].head;
  snprintf (text, room, "%s", ring.slots[ring.first].text);
  free (ring.slots[ring.first].text);
  ring.first = (ring.first + 1) % LOG_SLOTS;
  ring.count--;
  return true;
}

/* How many messages were dropped since the last question. */
CORE_API uint64_t
core_log_dropped (void)
{
  uint64_t dropped;

  ACQUIRE (&ring.lock);
  dropped = ring.dropped;
  ring.dropped = 0;
  return dropped;
}
