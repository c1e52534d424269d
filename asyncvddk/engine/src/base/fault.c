/* openEngine.fail = Read:3:7,Open:1:13  lets the third VixDiskLib_Read fail with 7, the first VixDiskLib_Open with 13.
 *
 * openEngine.hang = Read:2:/tmp/fifo,Close:0:/tmp/other  lets the second VixDiskLib_Read hang, and every VixDiskLib_Close.
 * The file is a FIFO: the call opens it for reading and returns to its work at the end of that file.  So whoever opens
 * the FIFO for writing waits until the call hangs, and frees it by closing; nobody has to poll or to sleep.  Where there
 * is no such file any more the call goes on.
 *
 * Number 0 is every call.  ReadAsync and WriteAsync fail or hang at once; ReadAsync.callback and WriteAsync.callback
 * accept the request and do so before its callback, which gets the code.  Read.any counts Read and ReadAsync together, for
 * tests that do not know which one a client uses; Write.any the same.  Counting starts with the first InitEx.  Names and
 * numbers of both keys are those of the functions that return a VixError, and Exit (which can hang only). */
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/engine.h"
#include "base/log.h"

#define MAX_RULES 64
#define MAX_NAME 40

static const char prefix[] = "VixDiskLib_";

struct rule {
  char function[MAX_NAME + 1]; /* without prefix */
  unsigned long call;          /* 0: every call */
  VixError code;               /* VIX_OK: the call hangs */
  char *fifo;                  /* NULL: the call fails */
  atomic_ulong calls;          /* seen so far */
};

static struct rule rules[MAX_RULES]; /* fault_load sets them, then only calls changes */
static unsigned rule_count;

atomic_bool fault_armed;

static const char *
without_prefix (const char *function)
{
  size_t length = sizeof prefix - 1;

  return strncmp (function, prefix, length) == 0 ? function + length : function;
}

static bool
parse_fail (const char *text, struct rule *rule)
{
  int end = -1;

  if (sscanf (text, "%40[A-Za-z.]:%lu:%lu%n", rule->function, &rule->call, &rule->code, &end) != 3)
    return false;
  return text[end] == '\0' && rule->code != VIX_OK;
}

static bool
parse_hang (const char *text, struct rule *rule)
{
  int end = -1;

  if (sscanf (text, "%40[A-Za-z.]:%lu:%n", rule->function, &rule->call, &end) != 2 || end == -1 || text[end] != '/')
    return false;
  rule->fifo = strdup (text + end);
  return rule->fifo != NULL;
}

static void
load (const char *key, const char *separators, const char *form, bool (*parse) (const char *text, struct rule *rule))
{
  const char *setting = config_get (key);
  CLEANUP_FREE char *copy = setting != NULL ? strdup (setting) : NULL;
  char *rest = NULL;

  for (char *text = copy != NULL ? strtok_r (copy, separators, &rest) : NULL; text != NULL;
       text = strtok_r (NULL, separators, &rest)) {
    struct rule *rule = &rules[rule_count];

    text += strspn (text, " \t");
    for (size_t n = strlen (text); n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'); n--)
      text[n - 1] = '\0';
    if (text[0] == '\0')
      continue;
    if (rule_count == MAX_RULES || !parse (without_prefix (text), rule)) {
      engine_warn ("%s: \"%s\" ignored, expected %s, at most %d of all kinds", key, text, form, MAX_RULES);
      continue;
    }
    atomic_store (&rule->calls, 0);
    rule_count++;
  }
}

void
fault_load (void)
{
  fault_forget ();
  load ("openEngine.fail", ", ", "Function:n:code", parse_fail);
  load ("openEngine.hang", ",", "Function:n:/fifo", parse_hang);
  atomic_store (&fault_armed, rule_count > 0);
}

void
fault_forget (void)
{
  atomic_store (&fault_armed, false);
  for (unsigned i = 0; i < rule_count; i++)
    free (rules[i].fifo);
  memset (rules, 0, sizeof rules);
  rule_count = 0;
}

/* True if a rule for name counts calls of function. */
static bool
is_meant (const char *name, const char *function)
{
  const size_t length = strcspn (name, ".");

  if (strcmp (name + length, ".any") != 0)
    return strcmp (name, function) == 0;
  return strncmp (name, function, length) == 0
         && (function[length] == '\0' || strcmp (function + length, "Async") == 0);
}

/* Waits for a writer, then for the end of what he writes.  The rule may be gone by then. */
static void
hang (const char *function, const char *path)
{
  CLEANUP_FREE char *fifo = strdup (path);
  char buffer[64];
  ssize_t got;
  int fd;

  if (fifo == NULL)
    return;
  engine_warn ("%s%s hangs until %s was written, as openEngine.hang says", prefix, function, fifo);
  do
    fd = open (fifo, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  while (fd == -1 && errno == EINTR);
  if (fd == -1) {
    engine_warn ("%s: %s, %s%s goes on", fifo, strerror (errno), prefix, function);
    return;
  }
  do
    got = read (fd, buffer, sizeof buffer);
  while (got > 0 || (got == -1 && errno == EINTR));
  close (fd);
}

VixError
fault_count_call (const char *function)
{
  VixError err = VIX_OK;

  function = without_prefix (function);
  for (unsigned i = 0; i < rule_count; i++) {
    struct rule *rule = &rules[i];
    unsigned long call;

    if (!is_meant (rule->function, function))
      continue;
    call = atomic_fetch_add (&rule->calls, 1) + 1;
    if (rule->call != 0 && rule->call != call)
      continue;
    if (rule->fifo != NULL)
      hang (function, rule->fifo);
    else if (err == VIX_OK)
      err = rule->code;
  }
  if (err != VIX_OK)
    engine_warn ("%s%s fails with %lu, as openEngine.fail says", prefix, function, err);
  return err;
}
