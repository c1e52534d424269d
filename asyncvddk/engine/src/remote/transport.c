#include "remote/transport.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"

static bool
is (const char *mode, size_t length, const char *name)
{
  return strlen (name) == length && strncasecmp (mode, name, length) == 0;
}

const char *
transport_choose (const char *modes)
{
  const char *found = NULL;

  if (modes == NULL || modes[0] == '\0')
    return TRANSPORT_NBDSSL;
  while (*modes != '\0') {
    const size_t length = strcspn (modes, ":");

    if (is (modes, length, TRANSPORT_NBDSSL))
      return TRANSPORT_NBDSSL;
    if (is (modes, length, TRANSPORT_NBD))
      return TRANSPORT_NBD;
    if (is (modes, length, TRANSPORT_FILE))
      found = TRANSPORT_FILE;
    else if (length > 0)
      engine_log ("transport mode %.*s is not available", (int) length, modes);
    modes += length + (modes[length] == ':');
  }
  return found;
}
