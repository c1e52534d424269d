/* The lines of a descriptor, for the files that read and edit them. */
#ifndef ENGINE_DESCRIPTOR_LINE_H
#define ENGINE_DESCRIPTOR_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/descriptor.h"

/* A "key = value" line; points into it. */
struct line_parts {
  const char *key, *value;
  size_t key_len, value_len;
};

/* False if the line is no assignment (blank, comment, extent). */
bool line_split (const char *line, struct line_parts *parts);

/* Letter case does not matter. */
bool line_has_key (const struct line_parts *parts, const char *key);

/* The value without quotes and escapes, malloc'ed; NULL when out of memory. */
char *line_value (const struct line_parts *parts);

/* Whether it begins as a line of an extent does: nothing else is said of it. */
bool is_extent_line (const char *line);

/* Adds what line number (from 1 on) says to d->extents. */
VixError extent_line_parse (struct descriptor *d, size_t number, const char *line);

/* Index of the line with this key, d->n_lines if there is none. */
size_t lines_find (const struct descriptor *d, const char *key, struct line_parts *parts);

/* Puts a line (taken over, freed on failure) before the line at; false when out of memory. */
bool lines_insert (struct descriptor *d, size_t at, char *line);

/* line is taken over; NULL: it could not be made. */
VixError lines_replace (struct descriptor *d, size_t at, char *line);

#endif
