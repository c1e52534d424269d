/* What crash_run.c tells the functions that stand between the library and the kernel. */
#ifndef CRASH_SHIM_H
#define CRASH_SHIM_H

#include <stdint.h>

/* What becomes of the n-th call that changes a file: the process kills itself before it, or in the middle of it, or the
 * call fails with EIO. */
enum fate { FATE_DIE, FATE_TEAR, FATE_FAIL };

/* From here on calls are counted; n 0: none meets its fate. */
void shim_arm (uint64_t n, enum fate fate);

/* Tells whether there was an n-th call. */
int shim_met (void);

/* From here on every change is written to a log, in the records of crash.py. */
void shim_log (const char *path);

/* Notes in the log that command number n has returned. */
void shim_acknowledge (uint64_t n);

#endif
