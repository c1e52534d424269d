/* Which areas of a chain are allocated. */
#ifndef ENGINE_ALLOCATED_H
#define ENGINE_ALLOCATED_H

#include "disk/link.h"

struct question {
  struct link *link;
  uint64_t start, count; /* sectors */
  uint64_t chunk;        /* sectors */
  bool zeros_count;      /* single link of a chain: what hides the parent's data is no hole */
};

/* Takes areas as disk_allocated tells them; false when it is out of memory. */
typedef bool emit_function (void *opaque, uint64_t start, uint64_t count);

VixError allocated_answer (const struct question *q, emit_function *emit, void *opaque);

#endif
