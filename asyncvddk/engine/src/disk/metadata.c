/* The disk database, and what is known of a disk from it. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "disk/disk_private.h"

/* Value of a key in the first link from the top that has it, malloc'ed.  Holds d->lock. */
static char *
find_value (const struct disk *d, const char *key)
{
  for (const struct link *l = d->top; l; l = l->parent) {
    char *value = descriptor_ddb_get (l->descriptor, key);

    if (value)
      return value;
  }
  return NULL;
}

char *
disk_ddb_get (struct disk *d, const char *key)
{
  char *value;

  pthread_mutex_lock (&d->lock);
  value = find_value (d, key);
  pthread_mutex_unlock (&d->lock);
  return value;
}

/* The two-call protocol of text results. */
static VixError
give_text (const char *text, size_t size, char *buf, size_t len, size_t *required)
{
  if (required)
    *required = size;
  if (!buf || len < size)
    return VIX_E_BUFFER_TOOSMALL;
  memcpy (buf, text, size);
  return VIX_OK;
}

VixError
disk_metadata_read (struct disk *d, const char *key, char *buf, size_t len, size_t *required)
{
  DISK_SHARED (d);
  CLEANUP_FREE char *value = disk_ddb_get (d, key);

  return value ? give_text (value, strlen (value) + 1, buf, len, required) : VIX_E_DISK_KEY_NOTFOUND;
}

/* Holds d->lock. */
static VixError
set_and_store (struct disk *d, const char *key, const char *val)
{
  struct descriptor *changed;
  VixError r = link_edit_descriptor (d->top, &changed);

  if (r == VIX_OK)
    r = descriptor_ddb_set (changed, key, val);
  if (r == VIX_OK)
    r = link_replace_descriptor (d->top, changed);
  descriptor_free (changed);
  return r;
}

VixError
disk_metadata_write (struct disk *d, const char *key, const char *val)
{
  DISK_SHARED (d);
  VixError r;

  if (!d->top->writable)
    return report (VIX_E_FILE_ACCESS_ERROR, "%s: was opened read-only; metadata cannot be written", d->top->path);
  if (!descriptor_valid_name (key))
    return report (VIX_E_INVALID_ARG,
                   "%s: metadata keys are 1 to 255 printable ASCII characters without blanks and =\"#|", d->top->path);
  pthread_mutex_lock (&d->lock);
  r = set_and_store (d, key, val);
  pthread_mutex_unlock (&d->lock);
  return r;
}

/* Names that were found so far, each with its NUL. */
struct names {
  char *text;
  size_t size;
};

static bool
has_name (const struct names *names, const char *name)
{
  for (size_t i = 0; i < names->size; i += strlen (names->text + i) + 1)
    if (strcasecmp (names->text + i, name) == 0)
      return true;
  return false;
}

/* False when out of memory. */
static bool
add_name (struct names *names, const char *name)
{
  const size_t size = strlen (name) + 1;
  char *text = realloc (names->text, names->size + size + 1);

  if (!text)
    return false;
  names->text = text;
  memcpy (text + names->size, name, size);
  names->size += size;
  return true;
}

/* Holds d->lock. */
static VixError
collect_names (const struct disk *d, struct names *names)
{
  for (const struct link *l = d->top; l; l = l->parent)
    for (size_t i = 0;; ++i) {
      CLEANUP_FREE char *name = descriptor_ddb_name (l->descriptor, i);

      if (!name)
        break;
      if (!has_name (names, name) && !add_name (names, name))
        return report_no_memory ();
    }
  return VIX_OK;
}

char *
disk_ddb_names (struct disk *d, size_t *size)
{
  struct names names = { calloc (1, 1), 0 };
  VixError r = names.text ? VIX_OK : report_no_memory ();

  pthread_mutex_lock (&d->lock);
  if (r == VIX_OK)
    r = collect_names (d, &names);
  pthread_mutex_unlock (&d->lock);
  if (r != VIX_OK) {
    free (names.text);
    return NULL;
  }
  names.text[names.size] = '\0'; /* an empty name ends the list */
  *size = names.size + 1;
  return names.text;
}

VixError
disk_metadata_keys (struct disk *d, char *buf, size_t len, size_t *required)
{
  DISK_SHARED (d);
  size_t size;
  CLEANUP_FREE char *names = disk_ddb_names (d, &size);

  return names ? give_text (names, size, buf, len, required) : VIX_E_OUT_OF_MEMORY;
}

/* 0 if the key is missing or no number.  Holds d->lock. */
static uint32
number (const struct disk *d, const char *key)
{
  CLEANUP_FREE char *value = find_value (d, key);
  unsigned long n = value ? strtoul (value, NULL, 10) : 0;

  return n <= UINT32_MAX ? (uint32) n : 0;
}

static uint32
adapter_type (const struct disk *d)
{
  static const struct {
    const char *name;
    VixDiskLibAdapterType type;
  } adapters[] = {
    { "ide", VIXDISKLIB_ADAPTER_IDE },
    { "buslogic", VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC },
    { "lsilogic", VIXDISKLIB_ADAPTER_SCSI_LSILOGIC },
  };
  CLEANUP_FREE char *value = find_value (d, "adapterType");

  for (size_t i = 0; value && i < sizeof adapters / sizeof *adapters; ++i)
    if (strcasecmp (value, adapters[i].name) == 0)
      return adapters[i].type;
  return VIXDISKLIB_ADAPTER_UNKNOWN;
}

/* A copy of value that lives as long as the disk; NULL if value is.  Holds d->lock. */
static const char *
keep_text (struct disk *d, const char *value)
{
  struct text *t;

  for (t = d->texts; value && t; t = t->next)
    if (strcmp (t->value, value) == 0)
      return t->value;
  t = value ? malloc (sizeof *t + strlen (value) + 1) : NULL;
  if (!t)
    return NULL;
  strcpy (t->value, value);
  t->next = d->texts;
  d->texts = t;
  return t->value;
}

void
disk_find_info (struct disk *d, struct disk_info *info)
{
  CLEANUP_FREE char *uuid = NULL;
  const char *hint = d->top->descriptor->parent_hint;

  pthread_mutex_lock (&d->lock);
  uuid = find_value (d, "uuid");
  *info = (struct disk_info){
    .capacity = link_sectors (d->top),
    .adapter = adapter_type (d),
    .cylinders = number (d, "geometry.cylinders"),
    .heads = number (d, "geometry.heads"),
    .sectors = number (d, "geometry.sectors"),
    .bios_cylinders = number (d, "geometry.biosCylinders"),
    .bios_heads = number (d, "geometry.biosHeads"),
    .bios_sectors = number (d, "geometry.biosSectors"),
    .logical_sector_size = number (d, "logicalSectorSize"),
    .physical_sector_size = number (d, "physicalSectorSize"),
    .links = d->links,
    .parent_hint = keep_text (d, hint && *hint ? hint : NULL),
    .uuid = keep_text (d, uuid),
  };
  pthread_mutex_unlock (&d->lock);
  if (info->logical_sector_size != 4096)
    info->logical_sector_size = SECTOR_SIZE;
  if (info->physical_sector_size != 4096)
    info->physical_sector_size = info->logical_sector_size;
}

void
disk_get_info (struct disk *d, struct disk_info *info)
{
  DISK_SHARED (d);

  disk_find_info (d, info);
}
