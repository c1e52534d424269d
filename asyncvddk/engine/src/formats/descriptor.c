/* The lines of a descriptor: split, found, edited, joined.  descriptor_parse.c gives them a meaning. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "formats/descriptor.h"
#include "formats/descriptor_line.h"
#include "base/io.h"

void
descriptor_free (struct descriptor *d)
{
  if (!d)
    return;
  for (size_t i = 0; i < d->n_lines; ++i)
    free (d->lines[i]);
  for (size_t i = 0; i < d->n_extents; ++i)
    free (d->extents[i].file);
  free (d->lines);
  free (d->extents);
  free (d->create_type);
  free (d->parent_hint);
  free (d->where);
  free (d);
}

char *
descriptor_text (const struct descriptor *d, size_t *len)
{
  size_t total = 1;
  char *text, *p;

  for (size_t i = 0; i < d->n_lines; ++i)
    total += strlen (d->lines[i]) + 1;
  p = text = malloc (total);
  if (!text)
    return NULL;
  for (size_t i = 0; i < d->n_lines; ++i) {
    p = stpcpy (p, d->lines[i]);
    *p++ = '\n';
  }
  *p = '\0';
  *len = (size_t) (p - text);
  return text;
}

bool
line_split (const char *line, struct line_parts *parts)
{
  const char *equals = strchr (line, '=');
  const char *end;

  line += strspn (line, " \t");
  if (!equals || equals < line || *line == '#')
    return false;
  end = equals;
  while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
    --end;
  parts->key = line;
  parts->key_len = (size_t) (end - line);
  parts->value = equals + 1 + strspn (equals + 1, " \t");
  parts->value_len = strlen (parts->value);
  while (parts->value_len > 0 && strchr (" \t", parts->value[parts->value_len - 1]))
    --parts->value_len;
  return parts->key_len > 0;
}

bool
line_has_key (const struct line_parts *parts, const char *key)
{
  return strlen (key) == parts->key_len && strncasecmp (parts->key, key, parts->key_len) == 0;
}

size_t
lines_find (const struct descriptor *d, const char *key, struct line_parts *parts)
{
  size_t i;

  for (i = 0; i < d->n_lines; ++i)
    if (line_split (d->lines[i], parts) && line_has_key (parts, key))
      break;
  return i;
}

/* Line numbers of extents from the line at on change by n. */
static void
shift_extents (struct descriptor *d, size_t at, int n)
{
  for (size_t i = 0; i < d->n_extents; ++i)
    if (d->extents[i].line > at)
      d->extents[i].line += (size_t) n;
}

bool
lines_insert (struct descriptor *d, size_t at, char *line)
{
  char **lines = line ? reallocarray (d->lines, d->n_lines + 1, sizeof *lines) : NULL;

  if (!lines) {
    free (line);
    return false;
  }
  memmove (lines + at + 1, lines + at, (d->n_lines - at) * sizeof *lines);
  lines[at] = line;
  d->lines = lines;
  ++d->n_lines;
  shift_extents (d, at, 1);
  return true;
}

static void
remove_line (struct descriptor *d, size_t at)
{
  free (d->lines[at]);
  --d->n_lines;
  memmove (d->lines + at, d->lines + at + 1, (d->n_lines - at) * sizeof *d->lines);
  shift_extents (d, at, -1);
}

VixError
lines_replace (struct descriptor *d, size_t at, char *line)
{
  if (!line)
    return report_no_memory ();
  free (d->lines[at]);
  d->lines[at] = line;
  return VIX_OK;
}

static bool
is_ddb_line (const char *line, struct line_parts *parts)
{
  return line_split (line, parts) && parts->key_len > 4 && strncasecmp (parts->key, "ddb.", 4) == 0;
}

/* VMware's dictionaries write a byte that cannot stand in a quoted value as a bar and two hexadecimal digits. */
static bool
needs_escape (unsigned char c)
{
  return c < 0x20 || c == '"' || c == '|' || c == 0x7f;
}

char *
descriptor_escape (const char *value)
{
  char *text = malloc (3 * strlen (value) + 1), *p = text;

  for (; text && *value; ++value)
    if (needs_escape ((unsigned char) *value))
      p += sprintf (p, "|%02X", (unsigned char) *value);
    else
      *p++ = *value;
  if (text)
    *p = '\0';
  return text;
}

static int
hex_digit (char c)
{
  return isdigit ((unsigned char) c) ? c - '0' : isxdigit ((unsigned char) c) ? (c | 0x20) - 'a' + 10 : -1;
}

char *
line_value (const struct line_parts *parts)
{
  const char *s = parts->value, *end = s + parts->value_len;
  char *text, *p;

  if (parts->value_len >= 2 && *s == '"' && end[-1] == '"') {
    ++s;
    --end;
  }
  p = text = malloc ((size_t) (end - s) + 1);
  if (!text)
    return NULL;
  while (s < end)
    if (*s == '|' && end - s >= 3 && hex_digit (s[1]) >= 0 && hex_digit (s[2]) >= 0 && (s[1] != '0' || s[2] != '0')) {
      *p++ = (char) (hex_digit (s[1]) * 16 + hex_digit (s[2]));
      s += 3;
    }
    else
      *p++ = *s++;
  *p = '\0';
  return text;
}

bool
descriptor_valid_name (const char *name)
{
  size_t len = strlen (name);

  for (size_t i = 0; i < len; ++i)
    if (name[i] <= ' ' || name[i] > '~' || strchr ("=\"#|", name[i]))
      return false;
  return len > 0 && len <= 255;
}

/* "ddb." and the name, malloc'ed. */
static char *
ddb_key (const char *name)
{
  char *key;

  return asprintf (&key, "ddb.%s", name) == -1 ? NULL : key;
}

char *
descriptor_ddb_get (const struct descriptor *d, const char *name)
{
  CLEANUP_FREE char *key = ddb_key (name);
  struct line_parts parts;

  return key && lines_find (d, key, &parts) < d->n_lines ? line_value (&parts) : NULL;
}

/* Index behind the last ddb line; a section is begun if there is none.  n_lines + 1 when out of memory. */
static size_t
end_of_ddb (struct descriptor *d)
{
  struct line_parts parts;

  for (size_t i = d->n_lines; i > 0; --i)
    if (is_ddb_line (d->lines[i - 1], &parts))
      return i;
  if (!lines_insert (d, d->n_lines, strdup ("")) || !lines_insert (d, d->n_lines, strdup ("# The Disk Data Base"))
      || !lines_insert (d, d->n_lines, strdup ("#DDB")) || !lines_insert (d, d->n_lines, strdup ("")))
    return d->n_lines + 1;
  return d->n_lines;
}

VixError
descriptor_ddb_set (struct descriptor *d, const char *name, const char *value)
{
  CLEANUP_FREE char *key = ddb_key (name);
  CLEANUP_FREE char *text = descriptor_escape (value);
  struct line_parts parts;
  char *line;
  size_t at;

  if (!key || !text)
    return report_no_memory ();
  at = lines_find (d, key, &parts);
  if (asprintf (&line, "%.*s = \"%s\"", at < d->n_lines ? (int) parts.key_len : (int) strlen (key),
                at < d->n_lines ? parts.key : key, text)
      == -1)
    return report_no_memory ();
  if (at < d->n_lines)
    return lines_replace (d, at, line);
  at = end_of_ddb (d);
  if (at > d->n_lines) {
    free (line);
    return report_no_memory ();
  }
  return lines_insert (d, at, line) ? VIX_OK : report_no_memory ();
}

char *
descriptor_ddb_name (const struct descriptor *d, size_t index)
{
  struct line_parts parts;

  for (size_t i = 0; i < d->n_lines; ++i)
    if (is_ddb_line (d->lines[i], &parts) && index-- == 0)
      return strndup (parts.key + 4, parts.key_len - 4);
  return NULL;
}

void
descriptor_swap_lines (struct descriptor *a, struct descriptor *b)
{
  char **lines = a->lines;
  size_t n_lines = a->n_lines;

  a->lines = b->lines;
  a->n_lines = b->n_lines;
  b->lines = lines;
  b->n_lines = n_lines;
}

uint32_t
random_cid (void)
{
  uint32_t cid;

  do
    if (getrandom (&cid, sizeof cid, 0) != sizeof cid) {
      struct timespec now;

      clock_gettime (CLOCK_REALTIME, &now);
      cid = (uint32_t) now.tv_nsec * 2654435761u ^ (uint32_t) now.tv_sec;
    }
  while (cid >= CID_NONE - 1);
  return cid;
}

/* The last 8 digits of ddb.longContentID are the CID. */
static VixError
set_long_content_id (struct descriptor *d, uint32_t cid)
{
  CLEANUP_FREE char *id = descriptor_ddb_get (d, "longContentID");

  if (!id || strlen (id) < 8)
    return VIX_OK;
  sprintf (id + strlen (id) - 8, "%08x", cid);
  return descriptor_ddb_set (d, "longContentID", id);
}

VixError
descriptor_set_cid (struct descriptor *d, uint32_t cid)
{
  struct line_parts parts;
  char *line;
  size_t at;
  VixError r;

  if (asprintf (&line, "CID=%08x", cid) == -1)
    return report_no_memory ();
  r = lines_replace (d, lines_find (d, "CID", &parts), line);
  if (r != VIX_OK)
    return r;
  r = set_long_content_id (d, cid);
  at = lines_find (d, "changeTrackPath", &parts);
  if (r == VIX_OK && at < d->n_lines)
    remove_line (d, at);
  if (r == VIX_OK)
    d->cid = cid;
  return r;
}
