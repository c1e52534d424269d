#define _GNU_SOURCE
#include "base/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char volumes[] = "/vmfs/volumes/";

const char *
path_beneath (const struct folder *folder, const char *path)
{
  const size_t length = strcmp (folder->path, "/") == 0 ? 0 : strlen (folder->path);

  return strncmp (path, folder->path, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

char *
path_from_host (const struct folders *in, const char *path)
{
  const char *name = path + sizeof volumes - 1;
  char *local = NULL;

  for (size_t i = 0; strncmp (path, volumes, sizeof volumes - 1) == 0 && i < in->n; i++) {
    const size_t length = in->items[i].name != NULL ? strlen (in->items[i].name) : 0;

    if (length > 0 && strncmp (name, in->items[i].name, length) == 0 && name[length] == '/')
      return asprintf (&local, "%s%s", in->items[i].path, name + length) == -1 ? NULL : local;
  }
  return strdup (path);
}

/* Opens the folder rest below the open folder at, which is closed, without following a symbolic link.  -1: errno. */
static int
walk (int at, char *rest)
{
  char *more = NULL;

  for (char *part = strtok_r (rest, "/", &more); part != NULL && at != -1; part = strtok_r (NULL, "/", &more)) {
    int next = openat (at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err = errno;

    close (at);
    at = next;
    errno = err;
  }
  return at;
}

/* The folder that holds the last part of rest, a path below folder.  -1: errno. */
static int
open_parent_of (const struct folder *folder, const char *rest)
{
  const char *slash = strrchr (rest, '/');
  CLEANUP_FREE char *dir = strndup (rest, slash != NULL ? (size_t) (slash - rest) : 0);
  int at, fd, err;

  if (dir == NULL)
    return -1;
  at = walk (open (folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC), dir);
  if (at == -1)
    return -1;
  fd = openat (at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  err = errno;
  close (at);
  errno = err;
  return fd;
}

int
open_directory_beneath (const struct folders *in, const char *path, char **dir, char **name, VixError *error)
{
  const char *slash = strrchr (path, '/');

  *dir = *name = NULL;
  for (size_t i = 0; slash != NULL && slash[1] != '\0' && i < in->n; i++) {
    const char *rest = path_beneath (&in->items[i], path);
    int fd;

    if (rest == NULL)
      continue;
    *dir = slash == path ? strdup ("/") : strndup (path, (size_t) (slash - path));
    *name = strdup (slash + 1);
    fd = *dir != NULL && *name != NULL ? open_parent_of (&in->items[i], rest) : -1;
    if (*dir == NULL || *name == NULL)
      *error = report_no_memory ();
    else if (fd == -1 && (errno == ELOOP || errno == ENOTDIR))
      *error = report (VIX_E_FILE_ACCESS_ERROR, "%s: a symbolic link has come into its way just now", path);
    else if (fd == -1)
      *error = report_errno (errno, *dir, "open the folder");
    return fd;
  }
  *error = report (VIX_E_FILE_ACCESS_ERROR, "%s: lies outside of the folders that openEngine.datastore and openEngine.fcd map",
                   path);
  return -1;
}
