/* Editing of extent lines and header keys. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "formats/descriptor.h"
#include "formats/descriptor_line.h"

#define BLANKS " \t"

/* ACCESS SECTORS TYPE ["FILE" [rest]]; points into the line, which was parsed before. */
struct extent_words {
  const char *access, *type, *rest;
  int access_len, type_len;
};

static const char *
skip_word (const char *text)
{
  text += strspn (text, BLANKS);
  return *text == '"' ? strchr (text + 1, '"') + 1 : text + strcspn (text, BLANKS);
}

static struct extent_words
split_words (const char *line)
{
  struct extent_words w = { .access = line + strspn (line, BLANKS) };
  const char *end = skip_word (line);

  w.access_len = (int) (end - w.access);
  end = skip_word (end); /* the number */
  w.type = end + strspn (end, BLANKS);
  end = skip_word (end);
  w.type_len = (int) (end - w.type);
  w.rest = skip_word (end);
  return w;
}

/* The line of e with its size and file; NULL when out of memory. */
static char *
format_line (const struct extent_words *w, const struct extent_line *e)
{
  char *line;
  int n = e->file ? asprintf (&line, "%.*s %llu %.*s \"%s\"%s", w->access_len, w->access,
                              (unsigned long long) e->sectors, w->type_len, w->type, e->file, w->rest)
                  : asprintf (&line, "%.*s %llu %.*s%s", w->access_len, w->access, (unsigned long long) e->sectors,
                              w->type_len, w->type, w->rest);

  return n == -1 ? NULL : line;
}

VixError
descriptor_set_extent (struct descriptor *d, size_t index, uint64_t sectors, const char *file)
{
  struct extent_line *e = &d->extents[index];
  const struct extent_words w = split_words (d->lines[e->line - 1]);

  if (file) {
    char *name = strdup (file);

    if (!name)
      return report_no_memory ();
    free (e->file);
    e->file = name;
  }
  d->capacity += sectors - e->sectors;
  e->sectors = sectors;
  return lines_replace (d, e->line - 1, format_line (&w, e));
}

VixError
descriptor_add_extent (struct descriptor *d, uint64_t sectors, const char *file)
{
  struct extent_line *extents = reallocarray (d->extents, d->n_extents + 1, sizeof *extents);
  struct extent_words w;
  struct extent_line *e;

  if (!extents)
    return report_no_memory ();
  d->extents = extents;
  e = &extents[d->n_extents];
  *e = e[-1];
  ++e->line;
  e->sectors = sectors;
  e->offset = 0;
  e->file = strdup (file);
  if (!e->file)
    return report_no_memory ();
  w = split_words (d->lines[e[-1].line - 1]);
  w.rest = e->has_offset ? " 0" : "";
  if (!lines_insert (d, e->line - 1, format_line (&w, e))) {
    free (e->file);
    return report_no_memory ();
  }
  ++d->n_extents;
  d->capacity += sectors;
  return VIX_OK;
}

char *
descriptor_get (const struct descriptor *d, const char *key)
{
  struct line_parts parts;

  return lines_find (d, key, &parts) < d->n_lines ? line_value (&parts) : NULL;
}

VixError
descriptor_set (struct descriptor *d, const char *key, const char *value)
{
  struct line_parts parts;
  size_t at = lines_find (d, key, &parts);
  char *line;

  if (asprintf (&line, "%.*s=\"%s\"", (int) parts.key_len, parts.key, value) == -1)
    return report_no_memory ();
  return lines_replace (d, at, line);
}
