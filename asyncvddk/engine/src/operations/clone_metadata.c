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

/* Malloc'ed; NULL: VIX_E_OUT_OF_MEMORY, reported, or no such key. */
static char *
read_value (struct disk *d, const char *key, VixError *r)
{
  size_t size = 0;
  char *value;

  *r = disk_metadata_read (d, key, NULL, 0, &size);
  if (*r != VIX_E_BUFFER_TOOSMALL)
    return NULL;
  value = malloc (size);
  *r = value ? disk_metadata_read (d, key, value, size, NULL) : report_no_memory ();
  return value;
}

static bool
same_adapter (struct disk *from, const struct descriptor *to)
{
  VixError r;
  CLEANUP_FREE char *theirs = read_value (from, "adapterType", &r);
  CLEANUP_FREE char *ours = descriptor_ddb_get (to, "adapterType");

  return theirs && ours && strcasecmp (theirs, ours) == 0;
}

/* Adds one key, unless it is one that could not be written as metadata; the geometry only if it is that of the same
 * adapter. */
static VixError
carry (struct disk *from, const char *key, bool geometry, struct descriptor *to)
{
  VixError r;
  CLEANUP_FREE char *value = NULL;

  if (is_own (key) || !descriptor_valid_name (key) || (!geometry && strncasecmp (key, "geometry.", 9) == 0))
    return VIX_OK;
  value = read_value (from, key, &r);
  return r == VIX_OK ? descriptor_ddb_set (to, key, value) : r;
}

VixError
clone_metadata (struct disk *from, struct descriptor *to)
{
  const bool geometry = same_adapter (from, to);
  CLEANUP_FREE char *keys = NULL;
  size_t size = 0;
  VixError r = disk_metadata_keys (from, NULL, 0, &size);

  if (r != VIX_E_BUFFER_TOOSMALL)
    return r;
  keys = malloc (size);
  r = keys ? disk_metadata_keys (from, keys, size, NULL) : report_no_memory ();
  for (const char *key = keys; r == VIX_OK && *key; key += strlen (key) + 1)
    r = carry (from, key, geometry, to);
  return r;
}
