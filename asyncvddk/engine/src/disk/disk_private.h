/* struct disk, shared by disk.c and metadata.c. */
#ifndef ENGINE_DISK_PRIVATE_H
#define ENGINE_DISK_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "disk/link.h"

/* A string that the caller was given. */
struct text {
  struct text *next;
  char value[];
};

struct disk {
  struct link *top;
  int links;
  bool single_link;
  pthread_mutex_t lock; /* guards the top link's descriptor and texts */
  atomic_bool changed;  /* the content id of this session is on disk */
  struct text *texts;
};

#endif
