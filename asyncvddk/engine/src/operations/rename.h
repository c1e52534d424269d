/* A disk on its way to another name. */
#ifndef ENGINE_RENAME_H
#define ENGINE_RENAME_H

#include "operations/disk_files.h"

struct new_name {
  char *from, *to; /* in the old folder, in the new one */
  bool optional;    /* the file need not be there */
  bool given;       /* it has the new name ... */
  bool moved;       /* ... and the old one no more */
};

struct renaming {
  struct disk_files files; /* as they are; their descriptor in memory is the new one */
  int dirfd;
  char *dir, *name; /* new */
  struct folder_lock *lock; /* on the new name */
  struct new_name *names;   /* of all files but the one with the descriptor */
  size_t n_names;
  char *track;               /* new name of the change tracking file */
  char *hint, *absolute_hint; /* to the parent; NULL: as it was */
  char *text;                /* new descriptor */
  size_t len;
  char *interim;             /* embedded with another hint only: right before and after */
  size_t interim_len;
  char *original;            /* then: the text as it was */
  size_t original_len;
};

/* rename_plan.c: names and texts, nothing is changed. */
VixError plan_rename (struct renaming *n);

#endif
