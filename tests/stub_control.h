/* The part of the stub library that tests steer: calls counted, failed and held; objects that must be ended. */
#ifndef STUB_CONTROL_H
#define STUB_CONTROL_H

#include <stdbool.h>

#include "vixDiskLib.h"

#define EXPORT __attribute__ ((visibility ("default")))

/* Functions that are counted, can fail and can be held.  ReadAsync and WriteAsync are the asking; Read and Write, then,
 * the work that a thread of the library does.  Block is no function of VDDK, but one that only stands at its gate. */
#define CALLS(X) \
  X (InitEx) X (Exit) X (PrepareForAccess) X (EndAccess) X (Cleanup) X (ConnectEx) X (Disconnect) X (Open) X (Close) \
  X (GetInfo) X (Read) X (Write) X (ReadAsync) X (WriteAsync) X (Wait) X (QueryAllocatedBlocks) X (Flush) X (Create) \
  X (CreateChild) X (Unlink) X (Clone) X (Grow) X (Shrink) X (Defragment) X (Rename) X (CheckRepair) X (Attach) \
  X (IsAttachPossible) X (SpaceNeededForClone) X (GetMetadataKeys) X (ReadMetadata) X (WriteMetadata) \
  X (GetConnectParams) X (Block)

enum call {
#define X(name) CALL_##name,
  CALLS (X)
#undef X
  CALLS_COUNT
};

/* Count the call, stand at the gate if there is one, and return what the test wants. */
VixError enter (enum call call);

/* The same for a call that uses an open disk. */
VixError enter_disk (VixDiskLibHandle handle, enum call call);

/* Say it through the client's warn callback; messages must be off (NULL) before the client is gone. */
void say (const char *format, ...);
void say_to (VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn);

enum kind { CONNECTION = 1, DISK };

/* A new object that somebody has to end; owner (or NULL) must outlive it. */
void *object_new (enum kind kind, const void *owner);

/* Note a misuse unless the object is alive and used on the thread that made it. */
void object_use (const void *object, enum kind kind, enum call call);
void object_end (const void *object, enum kind kind, enum call call);

/* Note what a client must not do. */
void misused (const char *what, enum call call);

/* Read into to or write from from, whichever is not NULL. */
void transfer (VixDiskLibSectorType start, VixDiskLibSectorType count, uint8 *to, const uint8 *from);

/* stub_async.c */
bool requests_in_flight (void);

/* stub_maintenance.c */
void forget_database (void);

/* Forget all calls, failures and objects. */
void stub_forget (void);

/* Memory, access locks and the like: given out (+1) and given back (-1). */
void given (int change);

/* The library itself: true at InitEx, false at Exit. */
void library_runs (bool runs);
void access_locked (bool locked);

/* True when a progress function that says "stop" is obeyed. */
bool obedient (void);

#endif
