#define _GNU_SOURCE
#include "remote/datastores.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/io.h"
#include "base/log.h"
#include "remote/params.h"

#define DATASTORE "openEngine.datastore."
#define OBJECT "openEngine.fcd."

static struct folders folders; /* datastores_load and datastores_free set them */

bool
is_datastore_path (const char *path)
{
  return path[0] == '[';
}

static struct folder *
find (const char *name, size_t length)
{
  for (size_t i = 0; i < folders.n; i++) {
    struct folder *f = &folders.items[i];

    if (f->name != NULL && strlen (f->name) == length && memcmp (f->name, name, length) == 0)
      return f;
  }
  return NULL;
}

/* Takes name and path, which may be NULL: no memory. */
static void
add_folder (char *name, char *path)
{
  struct folder *items = reallocarray (folders.items, folders.n + 1, sizeof *items);

  if (items == NULL || path == NULL) {
    engine_warn ("out of memory, a datastore is left out");
    free (name);
    free (path);
  }
  if (items != NULL)
    folders.items = items;
  if (items != NULL && path != NULL)
    folders.items[folders.n++] = (struct folder){ name, path };
}

static void
load_datastore (void *opaque, const char *name, const char *path)
{
  char *real = path[0] == '/' ? realpath (path, NULL) : NULL;
  char *copy = strdup (name);

  (void) opaque;
  if (find (name, strlen (name)) != NULL) { /* a later line of the file */
    free (real);
    free (copy);
    return;
  }
  if (real == NULL)
    engine_warn (DATASTORE "%s = %s: %s; there is no such datastore", name, path,
                 path[0] == '/' ? strerror (errno) : "expected an absolute path");
  if (real == NULL || copy == NULL) {
    free (real);
    free (copy);
    return;
  }
  add_folder (copy, real);
}

/* realpath for a file that may be missing where it is going to be made: its folder must exist. */
static char *
real_path (const char *path, bool exists)
{
  const char *slash = strrchr (path, '/');
  char *real = realpath (path, NULL), *full = NULL;
  CLEANUP_FREE char *dir = NULL;
  CLEANUP_FREE char *real_dir = NULL;

  if (real != NULL || exists || errno != ENOENT)
    return real;
  dir = strndup (path, (size_t) (slash - path + (slash == path)));
  real_dir = dir != NULL ? realpath (dir, NULL) : NULL;
  if (real_dir == NULL)
    return NULL;
  return asprintf (&full, "%s%s", strcmp (real_dir, "/") == 0 ? "" : real_dir, slash) == -1 ? NULL : full;
}

/* The folder of a first-class disk that is given by a path of its own. */
static void
load_object (void *opaque, const char *id, const char *path)
{
  char *real, *slash;

  (void) opaque;
  if (is_datastore_path (path))
    return;
  real = path[0] == '/' ? real_path (path, false) : NULL;
  if (real == NULL) {
    engine_warn (OBJECT "%s = %s: %s", id, path,
                 path[0] == '/' ? strerror (errno) : "expected [datastore] path or an absolute path");
    return;
  }
  slash = strrchr (real, '/');
  slash[slash == real] = '\0';
  add_folder (NULL, real);
}

void
datastores_load (void)
{
  datastores_free ();
  config_each (DATASTORE, load_datastore, NULL);
  config_each (OBJECT, load_object, NULL);
}

void
datastores_free (void)
{
  for (size_t i = 0; i < folders.n; i++) {
    free (folders.items[i].name);
    free (folders.items[i].path);
  }
  free (folders.items);
  folders = (struct folders){ NULL, 0 };
}

bool
datastores_exist (void)
{
  return folders.n > 0;
}

const struct folders *
datastores_folders (void)
{
  return &folders;
}

/* VIX_E_FILE_NAME_INVALID: a part is "..", or the path is absolute or names no file. */
static VixError
check_relative (const char *path, const char *rest)
{
  const size_t length = strlen (rest);

  if (length == 0 || rest[0] == '/' || rest[length - 1] == '/')
    return report (VIX_E_FILE_NAME_INVALID, "%s: expected [datastore] folder/disk.vmdk", path);
  for (const char *part = rest; part != NULL; part = strchr (part, '/')) {
    part += part != rest;
    if (strncmp (part, "..", 2) == 0 && (part[2] == '\0' || part[2] == '/'))
      return report (VIX_E_FILE_NAME_INVALID, "%s: \"..\" is not possible in a datastore path", path);
  }
  return VIX_OK;
}

VixError
datastores_resolve (const char *path, bool exists, char **local)
{
  const char *end = strchr (path, ']'), *rest;
  CLEANUP_FREE char *joined = NULL;
  const struct folder *folder;
  VixError r;

  *local = NULL;
  if (!is_datastore_path (path) || end == NULL)
    return report (VIX_E_FILE_NOT_FOUND,
                   "%s: is no path on a datastore; a connection to a server wants [datastore] folder/disk.vmdk", path);
  folder = find (path + 1, (size_t) (end - path - 1));
  if (folder == NULL)
    return report (VIX_E_FILE_ACCESS_ERROR, "%s: no such datastore; map it by " DATASTORE "%.*s = /folder", path,
                   (int) (end - path - 1), path + 1);
  rest = end + 1 + strspn (end + 1, " ");
  r = check_relative (path, rest);
  if (r != VIX_OK)
    return r;
  if (asprintf (&joined, "%s/%s", folder->path, rest) == -1) {
    joined = NULL;
    return report_no_memory ();
  }
  *local = real_path (joined, exists);
  if (*local == NULL)
    return report_errno (errno, path, exists ? "open" : "create");
  if (path_beneath (folder, *local) != NULL)
    return VIX_OK;
  free (*local);
  *local = NULL;
  return report (VIX_E_FILE_ACCESS_ERROR, "%s: a symbolic link leads out of the datastore's folder %s", path,
                 folder->path);
}

VixError
datastores_resolve_object (const char *id, const char *snapshot, char **local)
{
  CLEANUP_FREE char *key = NULL;
  const char *path;
  int length;

  *local = NULL;
  length = is_empty (snapshot) ? asprintf (&key, OBJECT "%s", id) : asprintf (&key, OBJECT "%s.%s", id, snapshot);
  if (length == -1) {
    key = NULL;
    return report_no_memory ();
  }
  path = config_get (key);
  if (path == NULL)
    return report (VIX_E_OBJECT_NOT_FOUND, "first-class disk %s%s%s: no such disk; map it by %s = [datastore] path", id,
                   is_empty (snapshot) ? "" : ", snapshot ", is_empty (snapshot) ? "" : snapshot, key);
  if (is_datastore_path (path))
    return datastores_resolve (path, true, local);
  *local = realpath (path, NULL);
  return *local != NULL ? VIX_OK : report_errno (errno, path, "open");
}
