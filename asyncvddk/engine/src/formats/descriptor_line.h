/* One "key = value" line of a descriptor. */
#ifndef ENGINE_DESCRIPTOR_LINE_H
#define ENGINE_DESCRIPTOR_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* Points into the line. */
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

#endif
