/* Is there anything in it? */
#ifndef ENGINE_ZERO_H
#define ENGINE_ZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* True if all bytes are zero: equal to the bytes before them, and the first ones are.  That runs at the speed of the C
 * library's memcmp. */
static inline bool
is_zero (const void *buf, size_t len)
{
  const unsigned char *p = buf;
  const size_t first = len < 16 ? len : 16;

  for (size_t i = 0; i < first; ++i)
    if (p[i] != 0)
      return false;
  return len == first || memcmp (p, p + first, len - first) == 0;
}

#endif
