/* openEngine.checkThreads: does the client keep VDDK's rules for threads?
 *
 * Other libraries with this interface are not thread safe where this engine is; a client that was tested here only would
 * corrupt memory there.  The rules:
 *
 *   1  One call at a time for each open disk.  Asynchronous requests in flight are no calls; a call from inside of a
 *      callback, which may run before ReadAsync has returned, is one.
 *   2  One at a time in the whole process: Connect, ConnectEx, Disconnect, PrepareForAccess, EndAccess, Cleanup, Create,
 *      CreateChild, Open, Close, Unlink, Grow, Rename, Clone, Attach, CheckRepair.  VDDK's guide wants one thread for all
 *      of them; clients that take a lock instead have worked for years, so the thread may change, but:
 *   3  A connection's disks are opened, and it is disconnected, by the thread that made it; a disk is closed by the thread
 *      that opened it.
 *   4  No call in a process that was forked behind InitEx. */
#ifndef ENGINE_THREADS_H
#define ENGINE_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>

/* Who is in a call.  Zeroed memory: nobody. */
struct turn {
  atomic_uint callers;
  atomic_int thread;               /* of the last who came, by its number in the system */
  _Atomic (const char *) function; /* his */
};

/* Reads the configuration.  Called by the first InitEx. */
void threads_load (void);

/* No check any more.  Called by the last Exit. */
void threads_forget (void);

/* Number of this thread, 0 while nothing is checked. */
int threads_self (void);

/* Rules 1 and 4: a call that uses the disk begins and ends. */
void threads_enter_disk (struct turn *turn, const char *function);
void threads_leave (struct turn *turn);

/* Rule 3: owner is threads_self of the thread that did so before. */
void threads_same (int owner, const char *function, const char *what);

/* Rules 2 and 4.  SERIAL_CALL;  declares the function one of rule 2 until its end. */
const char *threads_enter_serial (const char *function);
void threads_leave_serial (const char **function);

#define SERIAL_CALL                                                                                                      \
  __attribute__ ((cleanup (threads_leave_serial), unused)) const char *serial_call_ = threads_enter_serial (__func__)

#endif
