/* What crash_run.c tells the functions that stand between the library and the kernel. */
#ifndef CRASH_SHIM_H
#define CRASH_SHIM_H

#include <stdint.h>

/* From here on the process kills itself before the n-th call that changes a file, or in the middle of it. */
void shim_die (uint64_t n, int torn);

/* From here on every change is written to a log, in the records of crash.py. */
void shim_log (const char *path);

/* Notes in the log that command number n has returned. */
void shim_acknowledge (uint64_t n);

#endif
