/* struct disk, for this folder and for the operations that change an open disk as a whole. */
#ifndef ENGINE_DISK_PRIVATE_H
#define ENGINE_DISK_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "disk/disk.h"
#include "disk/exclusion.h"
#include "disk/link.h"

/* A string that the caller was given. */
struct text {
  struct text *next;
  char value[];
};

struct disk {
  struct link *top;
  int links;
  bool partial; /* a parent of the lowest link is not open */
  pthread_mutex_t lock; /* guards the top link's descriptor and texts */
  atomic_bool changed;  /* the content id of this session is on disk */
  struct text *texts;
  atomic_bool in_steps;       /* an operation on the links has the disk alone again and again; no other one may begin */
  struct exclusion exclusion; /* every call of disk.h is inside, together with others, but for close */
};

/* Until disk_exclusive_end no other thread is in a call of disk.h on this disk: whoever comes waits, or is told
 * DISK_WOULD_BLOCK.  The caller uses links and extents directly; a call of disk.h, or of the client's functions, which
 * may make one, would wait for itself. */
static inline void
disk_exclusive_begin (struct disk *d)
{
  exclusion_close (&d->exclusion);
}

static inline void
disk_exclusive_end (struct disk *d)
{
  exclusion_open (&d->exclusion);
}

static inline struct disk *
disk_shared_begin (struct disk *d)
{
  exclusion_enter (&d->exclusion, false);
  return d;
}

static inline void
disk_shared_end (struct disk **d)
{
  exclusion_leave (&(*d)->exclusion);
}

/* DISK_SHARED (d);  for the rest of the scope the disk is used by this thread and perhaps by others.  Not to be nested, so
 * no call of disk.h inside: a thread that wants the disk alone in between would wait for the outer one, which waits for it. */
#define DISK_SHARED(d)                                                                                                 \
  __attribute__ ((cleanup (disk_shared_end), unused)) struct disk *disk_shared_ = disk_shared_begin (d)

/* What was written is on storage, and the next write gets a content id of its own: *cid stands for the content as it is
 * now and for no other.  The caller has the disk alone. */
VixError disk_settle (struct disk *d, uint32_t *cid);

/* What is known from the disk databases of the chain.  The caller is inside, by DISK_SHARED or alone, for as long as the
 * answers are to be about the same links.  Each call takes d->lock.
 *
 * disk_ddb_get: value of a key in the first link from the top that has it, malloc'ed; NULL: none has. */
char *disk_ddb_get (struct disk *d, const char *key);

/* All names as they are at one moment, each with its NUL, then an empty one: *size bytes, malloc'ed.  NULL: no memory,
 * reported.  A name does not go again, its value may become another one. */
char *disk_ddb_names (struct disk *d, size_t *size);

/* As disk_get_info. */
void disk_find_info (struct disk *d, struct disk_info *info);

#endif
