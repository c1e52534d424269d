/* openEngine.fail = "Read:3:7,Open:1:13": the third VixDiskLib_Read fails with 7, the first VixDiskLib_Open with 13.
 *
 * Number 0 is every call.  ReadAsync and WriteAsync fail at once; ReadAsync.callback and WriteAsync.callback accept the
 * request and hand the code to its callback.  Counting starts with the first InitEx. */
#include "base/fault.h"

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
  VixError code;
  atomic_ulong calls; /* seen so far */
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
parse_rule (const char *text, struct rule *rule)
{
  int end = -1;

  text = without_prefix (text);
  if (sscanf (text, "%40[A-Za-z.]:%lu:%lu%n", rule->function, &rule->call, &rule->code, &end) != 3)
    return false;
  return text[end] == '\0';
}

void
fault_load (void)
{
  const char *setting = config_get ("openEngine.fail");
  CLEANUP_FREE char *copy = setting != NULL ? strdup (setting) : NULL;
  char *rest = NULL;

  rule_count = 0;
  for (char *text = copy != NULL ? strtok_r (copy, ", ", &rest) : NULL; text != NULL; text = strtok_r (NULL, ", ", &rest)) {
    struct rule *rule = &rules[rule_count];

    if (rule_count == MAX_RULES || !parse_rule (text, rule)) {
      engine_warn ("openEngine.fail: \"%s\" ignored, expected Function:n:code, at most %d of them", text, MAX_RULES);
      continue;
    }
    atomic_store (&rule->calls, 0);
    rule_count++;
  }
  atomic_store (&fault_armed, rule_count > 0);
}

VixError
fault_count_call (const char *function)
{
  VixError err = VIX_OK;

  function = without_prefix (function);
  for (unsigned i = 0; i < rule_count; i++) {
    struct rule *rule = &rules[i];
    unsigned long call;

    if (strcmp (rule->function, function) != 0)
      continue;
    call = atomic_fetch_add (&rule->calls, 1) + 1;
    if (err == VIX_OK && (rule->call == 0 || rule->call == call))
      err = rule->code;
  }
  if (err != VIX_OK)
    engine_warn ("%s%s fails with %lu, as openEngine.fail says", prefix, function, err);
  return err;
}
