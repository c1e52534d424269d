/* Files that must lie in certain folders, whatever symbolic links and file names in them say. */
#ifndef ENGINE_BENEATH_H
#define ENGINE_BENEATH_H

#include <stddef.h>

#include "vixDiskLib.h"

struct folder {
  char *name; /* of the datastore that it stands for; NULL: none */
  char *path; /* absolute, free of symbolic links */
};

struct folders {
  struct folder *items;
  size_t n;
};

/* As open_directory_of for a path free of symbolic links, which must lie below one of the folders: else, or when a folder
 * on the way has become a symbolic link meanwhile, VIX_E_FILE_ACCESS_ERROR, reported. */
int open_directory_beneath (const struct folders *in, const char *path, char **dir, char **name, VixError *error);

/* The part of path behind the folder and its slash, NULL if it lies outside. */
const char *path_beneath (const struct folder *folder, const char *path);

/* Where an absolute path of an ESXi host, /vmfs/volumes/<name>/..., is here; other paths stay as they are.  malloc'ed,
 * NULL without memory. */
char *path_from_host (const struct folders *in, const char *path);

#endif
