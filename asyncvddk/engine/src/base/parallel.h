/* The same work on many pieces, on all processors. */
#ifndef ENGINE_PARALLEL_H
#define ENGINE_PARALLEL_H

/* Calls f for each of 0 to n-1, on this thread and on others of its own, and returns when all are done.  It needs no
 * other thread: where none can be started, this one does everything. */
void parallel (unsigned n, void (*f) (void *opaque, unsigned i), void *opaque);

#endif
