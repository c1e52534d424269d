/* unlink.c: a disk about to go, because it is deleted, or replaced by another one. */
#ifndef ENGINE_DOOMED_H
#define ENGINE_DOOMED_H

#include "disk/link.h"

struct doomed {
  struct file *file; /* with the descriptor */
  struct descriptor *descriptor;
  bool embedded; /* the file is the whole disk */
  int dirfd;
  char *dir, *name;
  struct file **extents; /* locked; NULL where there was nothing to lock */
};

/* Opens and locks the files of the disk's own link.  VIX_E_FILE_NAME_INVALID if it lists one that is not named like its
 * own.  doomed_close is for failures, too. */
VixError doomed_open (const char *path, struct doomed *d);
void doomed_close (struct doomed *d);

#endif
