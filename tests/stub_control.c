#include "stub_control.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_OBJECTS 4096
#define MAX_FAILURES 8

static const char *const names[] = {
#define X(name) #name,
  CALLS (X)
#undef X
};

struct object {
  enum kind kind;
  bool alive;
  const void *owner;
  pthread_t thread;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;   /* guards all below */
static struct { unsigned calls; VixError fail; int reached, gate; } stub[CALLS_COUNT];
static struct { unsigned call; VixError code; } failures[MAX_FAILURES];
static unsigned failure_count, total;
static struct object objects[MAX_OBJECTS];
static unsigned object_count;
static int given_out, locks;
static bool running, obeys;
static char journal[1 << 16], misuse[1024];
static VixDiskLibGenericLogFunc *log_to, *warn_to;

void
say_to (VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn)
{
  log_to = log;
  warn_to = warn;
}

void
say (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  if (warn_to)
    warn_to (format, args);
  va_end (args);
}

static void
say_log (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  if (log_to)
    log_to (format, args);
  va_end (args);
}

/* Called with the lock held. */
static void
blame (const char *what, enum call call)
{
  size_t used = strlen (misuse);

  snprintf (misuse + used, sizeof misuse - used, "%s: %s\n", names[call], what);
}

/* Called with the lock held.  What shall fail by its number among all calls. */
static VixError
failure_of (enum call call)
{
  unsigned i;

  if (call == CALL_Exit || call == CALL_Block)             /* they return nothing */
    return VIX_OK;
  total++;
  for (i = 0; i < failure_count; i++)
    if (failures[i].call == total)
      return failures[i].code;
  return VIX_OK;
}

VixError
enter (enum call call)
{
  VixError fail;
  int reached, gate;
  char byte = 1;
  size_t used;

  pthread_mutex_lock (&lock);
  if (!running && call != CALL_InitEx && call != CALL_Block)
    blame ("the library is not initialised", call);
  stub[call].calls++;
  used = strlen (journal);
  snprintf (journal + used, sizeof journal - used, "%s ", names[call]);
  fail = failure_of (call);
  if (fail == VIX_OK)
    fail = stub[call].fail;
  reached = stub[call].reached;
  gate = stub[call].gate;
  pthread_mutex_unlock (&lock);
  if (gate > 0 && write (reached, &byte, 1) == 1 && read (gate, &byte, 1) != 1)
    return fail;                                            /* the gate is gone */
  if (fail)
    say ("%s says %d times no", names[call], (int) fail);
  return fail;
}

void *
object_new (enum kind kind, const void *owner)
{
  struct object *object;

  pthread_mutex_lock (&lock);
  if (object_count == MAX_OBJECTS)
    abort ();
  object = &objects[object_count++];
  *object = (struct object) { .kind = kind, .alive = true, .owner = owner, .thread = pthread_self () };
  pthread_mutex_unlock (&lock);
  return object;
}

static struct object *
find (const void *object, enum kind kind, enum call call)
{
  struct object *known = (struct object *) object;

  if (known < objects || known >= objects + object_count || known->kind != kind || !known->alive) {
    blame ("no such object, or not any more", call);
    return NULL;
  }
  if (!pthread_equal (known->thread, pthread_self ()))
    blame ("on another thread than the one that made the object", call);
  return known;
}

VixError
enter_disk (VixDiskLibHandle handle, enum call call)
{
  object_use (handle, DISK, call);
  return enter (call);
}

void
misused (const char *what, enum call call)
{
  pthread_mutex_lock (&lock);
  blame (what, call);
  pthread_mutex_unlock (&lock);
}

void
object_use (const void *object, enum kind kind, enum call call)
{
  pthread_mutex_lock (&lock);
  find (object, kind, call);
  pthread_mutex_unlock (&lock);
}

/* Called with the lock held. */
static void
end (struct object *object, enum call call)
{
  unsigned i;

  for (i = 0; i < object_count; i++)
    if (objects[i].alive && objects[i].owner == object)
      blame ("something of it is still open", call);
  object->alive = false;
}

void
object_end (const void *object, enum kind kind, enum call call)
{
  struct object *known;

  pthread_mutex_lock (&lock);
  known = find (object, kind, call);
  if (known != NULL)
    end (known, call);
  pthread_mutex_unlock (&lock);
}

void
given (int change)
{
  pthread_mutex_lock (&lock);
  given_out += change;
  pthread_mutex_unlock (&lock);
}

void
access_locked (bool locked)
{
  pthread_mutex_lock (&lock);
  if (locked)
    locks++;
  else if (locks > 0)
    locks--;
  pthread_mutex_unlock (&lock);
}

void
library_runs (bool runs)
{
  unsigned i;

  pthread_mutex_lock (&lock);
  if (running == runs)
    blame ("a second time", runs ? CALL_InitEx : CALL_Exit);
  running = runs;
  for (i = 0; i < object_count; i++)
    if (objects[i].alive)
      blame ("something is still open", runs ? CALL_InitEx : CALL_Exit);
  pthread_mutex_unlock (&lock);
}

bool
obedient (void)
{
  return obeys;
}

static enum call
index_of (const char *name)
{
  int i;

  for (i = 0; i < CALLS_COUNT; i++)
    if (strcmp (names[i], name) == 0)
      return (enum call) i;
  abort ();
}

/* All that follows is for the test. */

void
stub_forget (void)
{
  memset (stub, 0, sizeof stub);
  memset (objects, 0, sizeof objects);
  failure_count = total = object_count = 0;
  given_out = locks = 0;
  running = obeys = false;
  journal[0] = misuse[0] = '\0';
}

EXPORT unsigned
stub_calls (const char *name)
{
  return stub[index_of (name)].calls;
}

/* Each call of the function writes a byte to reached and reads one from gate.  0 opens it for good. */
EXPORT void
stub_gate (const char *name, int reached, int gate)
{
  pthread_mutex_lock (&lock);
  stub[index_of (name)].reached = reached;
  stub[index_of (name)].gate = gate;
  pthread_mutex_unlock (&lock);
}

EXPORT void
stub_fail (const char *name, VixError code)
{
  stub[index_of (name)].fail = code;
}

/* Let the call of that number fail, all functions counted together and from now on; the numbering starts anew with 0. */
EXPORT void
stub_fail_call (unsigned call, VixError code)
{
  pthread_mutex_lock (&lock);
  if (call == 0)
    failure_count = total = 0;
  else if (failure_count < MAX_FAILURES)
    failures[failure_count].call = call, failures[failure_count++].code = code;
  pthread_mutex_unlock (&lock);
}

EXPORT void
stub_obey (bool yes)
{
  obeys = yes;
}

/* Names of all calls in their order, a blank behind each. */
EXPORT const char *
stub_journal (void)
{
  return journal;
}

EXPORT const char *
stub_misuse (void)
{
  return misuse;
}

/* How much is not ended or given back. */
EXPORT int
stub_left (void)
{
  int left;
  unsigned i;

  pthread_mutex_lock (&lock);
  left = given_out + locks + running;
  for (i = 0; i < object_count; i++)
    left += objects[i].alive;
  pthread_mutex_unlock (&lock);
  return left;
}

/* Stands at the gate of "Block", so that calls can be queued behind it. */
EXPORT VixError
stub_block (void)
{
  return enter (CALL_Block);
}

/* A message with arguments of several types, and one that is longer than anybody's buffer. */
EXPORT void
stub_chat (const char *text, int number, unsigned long long large, const char *long_text)
{
  say_log ("text %s number %d large %llu percent %% done", text, number, large);
  say ("%s|%s", long_text, "end");
}
