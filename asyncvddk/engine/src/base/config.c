/* The configuration file of VixDiskLib_InitEx: lines  name = value  or  name = "value", comments from # on. */
#include "base/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/engine.h"
#include "base/log.h"

#define MAX_LINES 10000

struct setting {
  struct setting *next;
  char *key, *value;
};

static struct setting *settings; /* written by config_load and config_free only */

static const struct setting *
find (const char *key)
{
  for (const struct setting *s = settings; s != NULL; s = s->next)
    if (strcasecmp (s->key, key) == 0)
      return s;
  return NULL;
}

/* Cuts blanks off both ends, in place. */
static char *
trim (char *text)
{
  static const char blanks[] = " \t\r\n";

  text += strspn (text, blanks);
  for (size_t n = strlen (text); n > 0 && strchr (blanks, text[n - 1]) != NULL; n--)
    text[n - 1] = '\0';
  return text;
}

/* Takes quotes or a comment off a value, in place.  NULL: an opening quote is never closed. */
static char *
unquote (char *value)
{
  char *end;

  if (value[0] == '"') {
    end = strchr (++value, '"');
    if (end == NULL)
      return NULL;
    *end = '\0';
    return value;
  }
  value[strcspn (value, "#")] = '\0';
  return trim (value);
}

/* Overwrites a text, which may be a password, and frees it. */
static void
forget (char *text)
{
  if (text != NULL)
    explicit_bzero (text, strlen (text));
  free (text);
}

/* Later lines win: they are put in front.  False: no memory. */
static bool
add (const char *key, const char *value)
{
  struct setting *s = calloc (1, sizeof *s);

  if (s == NULL)
    return false;
  s->key = strdup (key);
  s->value = strdup (value);
  s->next = settings;
  settings = s;
  return s->key != NULL && s->value != NULL;
}

/* Values are not told: a secret may stand in the wrong line. */
static void
complain (const char *path, unsigned number, const char *key, const char *value)
{
  bool wrong;
  const char *complaint = config_complaint (key, value, &wrong);

  if (complaint != NULL)
    (wrong ? engine_warn : engine_log) ("%s:%u: %s %s", path, number, key, complaint);
}

/* False: the rest of the file is not worth reading. */
static bool
parse_line (const char *path, unsigned number, char *line)
{
  char *key = trim (line), *equals = strchr (key, '='), *value;

  if (key[0] == '\0' || key[0] == '#')
    return true;
  if (equals == NULL || equals == key) {
    engine_warn ("%s:%u: ignored, expected  name = value", path, number);
    return true;
  }
  *equals = '\0';
  key = trim (key);
  value = unquote (trim (equals + 1));
  if (value == NULL) {
    engine_warn ("%s:%u: %s ignored, its quote is not closed", path, number, key);
    return true;
  }
  complain (path, number, key, value);
  if (!add (key, value)) {
    engine_warn ("%s:%u: out of memory, this line and the rest ignored", path, number);
    config_free ();
    return false;
  }
  return true;
}

void
config_load (const char *path)
{
  char buffer[BUFSIZ], *line = NULL;
  size_t size = 0;
  unsigned number = 0;
  FILE *file;

  config_free ();
  if (path == NULL || path[0] == '\0')
    return;
  file = fopen (path, "re");
  if (file == NULL) {
    engine_warn ("configuration file %s: %s, defaults are used", path, strerror (errno));
    return;
  }
  setvbuf (file, buffer, _IOFBF, sizeof buffer);
  while (getline (&line, &size, file) >= 0)
    if (++number > MAX_LINES || !parse_line (path, number, line))
      break;
  if (ferror (file))
    engine_warn ("configuration file %s: %s behind line %u", path, strerror (errno), number);
  else if (number > MAX_LINES)
    engine_warn ("configuration file %s: lines behind %u ignored", path, MAX_LINES);
  fclose (file);
  explicit_bzero (buffer, sizeof buffer);
  if (line != NULL)
    explicit_bzero (line, size);
  free (line);
}

void
config_free (void)
{
  while (settings != NULL) {
    struct setting *s = settings;

    settings = s->next;
    forget (s->key);
    forget (s->value);
    free (s);
  }
}

const char *
config_get (const char *key)
{
  const struct setting *s = find (key);

  return s == NULL ? NULL : s->value;
}

void
config_each (const char *prefix, void (*f) (void *opaque, const char *rest, const char *value), void *opaque)
{
  const size_t length = strlen (prefix);

  for (const struct setting *s = settings; s != NULL; s = s->next)
    if (strncasecmp (s->key, prefix, length) == 0 && s->key[length] != '\0')
      f (opaque, s->key + length, s->value);
}

bool
config_lists (const char *key, const char *item)
{
  const size_t length = strlen (item);
  const char *list = config_get (key);

  if (list == NULL)
    return true;
  for (;;) {
    size_t word;

    list += strspn (list, ", \t");
    word = strcspn (list, ",");
    if (word == 0)
      return false;
    if (word >= length && strncmp (list, item, length) == 0 && strspn (list + length, " \t") >= word - length)
      return true;
    list += word;
  }
}

uint64
config_number (const char *key, uint64 fallback, uint64 min, uint64 max)
{
  const char *text = config_get (key);
  char *end;
  uint64 value;

  if (text == NULL)
    return fallback;
  errno = 0;
  value = strtoul (text, &end, 10);
  if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < min || value > max) {
    engine_warn ("%s = \"%s\": expected a number from %lu to %lu; %lu is used", key, text, min, max, fallback);
    return fallback;
  }
  return value;
}

static bool
is_one_of (const char *text, const char *const words[])
{
  for (; *words != NULL; words++)
    if (strcasecmp (text, *words) == 0)
      return true;
  return false;
}

bool
config_switch (const char *key, bool fallback)
{
  static const char *const yes[] = { "on", "yes", "true", "1", NULL }, *const no[] = { "off", "no", "false", "0", NULL };
  const char *text = config_get (key);

  if (text == NULL)
    return fallback;
  if (is_one_of (text, yes))
    return true;
  if (!is_one_of (text, no))
    engine_warn ("%s = \"%s\": expected on or off; %s is used", key, text, fallback ? "on" : "off");
  else
    return false;
  return fallback;
}
