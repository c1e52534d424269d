/* Exclusion of writers. */
#ifndef ENGINE_LOCK_H
#define ENGINE_LOCK_H

#include "base/io.h"

/* Held until the file is closed; f->locked says whether the file system knows such locks.
 * VIX_E_FILE_ALREADY_LOCKED if somebody else has it. */
VixError lock_for_writing (struct file *f);

struct folder_lock;

/* lock_folder.c: enters this process into the folder name.lck beside the disk; dirfd is open on dir.  guard is a file of
 * the disk, locked by lock_for_writing, whose lock lasts until folder_lock_drop; NULL: there is none.
 * VIX_E_FILE_ALREADY_LOCKED, with the owner's name, if somebody else is entered who may be alive.  *out is NULL if no
 * entry could be made, which is warned about. */
VixError folder_lock_take (int dirfd, const char *dir, const char *name, const struct file *guard,
                           struct folder_lock **out);

/* NULL allowed. */
void folder_lock_drop (struct folder_lock *l);

/* lock_owner.c: what an entry says of its owner, and whether it is worth believing. */
#define LOCK_ENTRY_SIZE 512

struct lock_owner {
  char machine[64], process[128], boot[40]; /* process: pid-start(name) */
  unsigned number; /* in the order of arrival */
  int pid;
  unsigned long long start, pid_namespace;
  unsigned location; /* checksum of the lock folder's path */
};

/* This process, as the owner of an entry in folder. */
void lock_owner_self (const char *folder, struct lock_owner *owner);

/* The entry's bytes, padded with zeros. */
void lock_owner_format (const struct lock_owner *owner, char entry[LOCK_ENTRY_SIZE]);

/* False if this is no entry. */
bool lock_owner_parse (const char entry[LOCK_ENTRY_SIZE], struct lock_owner *owner);

bool lock_owner_is_local (const struct lock_owner *owner, const struct lock_owner *self);

/* True if the owner is certainly gone.  kernel_locked: we hold the kernel's lock, which he had while he lived. */
bool lock_owner_is_gone (const struct lock_owner *owner, const struct lock_owner *self, bool kernel_locked);

/* The same for a file that is open for reading only: there may be other readers. */
VixError lock_against_writers (struct file *f);

#endif
