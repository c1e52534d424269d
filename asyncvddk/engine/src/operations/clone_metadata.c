/* The disk database of a clone. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "operations/clone.h"

/* Keys that a clone has of its own, or that speak of what the source is kept in: a name, or with a dot all below it. */
static bool
is_own (const char *key)
{
  static const char *const own[] = { "adapterType", "longContentID", "uuid",     "uuid.",           "virtualHWVersion",
                                     "thinProvisioned", "nativeParentCID", "nativeParentHint", "sidecars", "fcd." };

  for (size_t i = 0; i < sizeof own / sizeof *own; ++i) {
    const size_t len = strlen (own[i]);

    if (own[i][len - 1] == '.' ? strncasecmp (key, own[i], len) == 0 : strcasecmp (key, own[i]) == 0)
      return true;
  }
  return false;
}

static bool
same_adapter (struct disk *from, const struct descriptor *to)
{
  CLEANUP_FREE char *theirs = disk_ddb_get (from, "adapterType");
  CLEANUP_FREE char *ours = descriptor_ddb_get (to, "adapterType");

  return theirs && ours && strcasecmp (theirs, ours) == 0;
}

/* Adds one key, unless it is one that could not be written as metadata; the geometry only if it is that of the same
 * adapter. */
static VixError
carry (struct disk *from, const char *key, bool geometry, struct descriptor *to)
{
  CLEANUP_FREE char *value = NULL;

  if (is_own (key) || !descriptor_valid_name (key) || (!geometry && strncasecmp (key, "geometry.", 9) == 0))
    return VIX_OK;
  value = disk_ddb_get (from, key);
  return value ? descriptor_ddb_set (to, key, value) : report_no_memory ();
}

/* The source may get metadata meanwhile: so the names are those of one moment. */
VixError
clone_metadata (struct disk *from, struct descriptor *to)
{
  const bool geometry = same_adapter (from, to);
  size_t size;
  CLEANUP_FREE char *names = disk_ddb_names (from, &size);
  VixError r = names ? VIX_OK : VIX_E_OUT_OF_MEMORY;

  for (const char *key = names; r == VIX_OK && *key; key += strlen (key) + 1)
    r = carry (from, key, geometry, to);
  return r;
}
