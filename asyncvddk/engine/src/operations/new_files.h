/* Files that come into being together: made under temporary names, which takes what time it needs, then given their own
 * names.  What a process that died left behind is known by a temporary name whose lock nobody holds, also after it got
 * its own name: it has both until the end.  The next one who needs the name removes it. */
#ifndef ENGINE_NEW_FILES_H
#define ENGINE_NEW_FILES_H

#include "base/io.h"

struct new_file {
  char *name, *temporary;
  int guard; /* keeps the lock while the file is not open */
  bool published;
  bool moved; /* published, and the temporary name is gone: no hard links here */
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

/* Deletes the temporary name of a file that is made, left behind by a process that died; errors are ignored. */
void new_file_forget (int dirfd, const char *name);

/* Frees; without keep all files are deleted. */
void new_files_end (struct new_files *s, bool keep);

#endif
