/* Files that come into being together: made under temporary names, which take what time it needs, then all of them get
 * their own names at once.  What a process that died left under a temporary name is known by it, and that nobody holds
 * its lock: the next one who needs the name removes it. */
#ifndef ENGINE_NEW_FILES_H
#define ENGINE_NEW_FILES_H

#include "base/io.h"

struct new_file {
  char *name, *temporary;
  int guard; /* keeps the lock while the file is not open */
  bool published;
};

struct new_files {
  int dirfd; /* borrowed, like dir */
  const char *dir;
  struct new_file *files;
  size_t n;
};

/* VIX_E_FILE_ALREADY_EXISTS, VIX_E_FILE_ALREADY_LOCKED if another process is making a file of this name. */
VixError new_file_create (struct new_files *s, const char *name, struct file **out);

/* All get their names, which are on stable storage then; or none does. */
VixError new_files_publish (struct new_files *s);

/* Frees; without keep all files are deleted. */
void new_files_end (struct new_files *s, bool keep);

#endif
