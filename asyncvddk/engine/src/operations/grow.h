/* A disk about to get larger. */
#ifndef ENGINE_GROW_H
#define ENGINE_GROW_H

#include "base/progress.h"
#include "disk/link.h"

struct growth {
  struct link *link;
  struct progress *progress;
  uint64_t capacity;          /* sectors, the new one */
  bool sparse, thin;
  uint64_t split;             /* size of a split disk's extents; 0: it is not split */
  uint64_t last;              /* new size of the last extent */
  uint64_t last_size;         /* bytes of its file, before */
  char *before;               /* header and descriptor inside of that file, as they were; NULL: unchanged */
  size_t before_len;
  struct descriptor *grown;   /* what the descriptor will be */
  size_t n_added;             /* extents that were made so far */
  struct file *list;          /* of extents that may belong to nobody, see unfinished.h; NULL: none is added */
};

/* grow_plan.c: what is to be done; refused if it cannot be.  Nothing is changed. */
VixError plan_growth (struct growth *g);

#endif
