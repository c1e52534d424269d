/* Looking for children.  Any file may lie in the folder, so nothing is reported and little is read. */
#define _GNU_SOURCE
#include "operations/children.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES (32u << 10) /* of a file that may be a descriptor; inside an extent it comes right behind the header */

/* The beginning of a file as one string: NULs become line ends.  False if there is nothing to read. */
static bool
read_head (int dirfd, const char *name, char head[HEAD_BYTES + 1])
{
  int fd = openat (dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat st;
  ssize_t n = fd != -1 && fstat (fd, &st) == 0 && S_ISREG (st.st_mode) ? pread (fd, head, HEAD_BYTES, 0) : -1;

  if (fd != -1)
    close (fd);
  for (ssize_t i = 0; i < n; ++i)
    if (head[i] == '\0')
      head[i] = '\n';
  head[n > 0 ? n : 0] = '\0';
  return n > 0;
}

/* The text behind a key at the beginning of a line, cut off at the line's end; NULL: no such key. */
static char *
find_value (char *head, const char *key)
{
  for (char *line = head; line; line = strchr (line, '\n')) {
    line += strspn (line, " \t\r\n");
    if (strncasecmp (line, key, strlen (key)) == 0) {
      line += strlen (key);
      line += strspn (line, " \t=\"");
      line[strcspn (line, "\"\r\n")] = '\0';
      return line;
    }
  }
  return NULL;
}

static bool
is_child (const struct link *l, const char *name, char head[HEAD_BYTES + 1])
{
  CLEANUP_FREE char *copy = NULL;
  const char *cid, *hint;
  struct stat st;

  if (!read_head (l->dirfd, name, head))
    return false;
  copy = strdup (head); /* values are cut out of it */
  cid = copy ? find_value (copy, "parentCID") : NULL;
  hint = find_value (head, "parentFileNameHint");
  return cid && hint && (uint32_t) strtoul (cid, NULL, 16) == l->descriptor->cid
         && fstatat (l->dirfd, hint, &st, 0) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

char *
find_child (const struct link *l)
{
  int fd = openat (l->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd == -1 ? NULL : fdopendir (fd);
  CLEANUP_FREE char *head = malloc (HEAD_BYTES + 1);
  const struct dirent *e;
  char *found = NULL;

  while (dir && head && !found && (e = readdir (dir))) {
    const size_t len = strlen (e->d_name);

    if (len > 5 && strcasecmp (e->d_name + len - 5, ".vmdk") == 0 && is_child (l, e->d_name, head))
      found = strdup (e->d_name);
  }
  if (dir)
    closedir (dir);
  else if (fd != -1)
    close (fd);
  return found;
}
