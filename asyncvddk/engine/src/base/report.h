/* Failures: every one is told to the client once, with its place, and becomes a code. */
#ifndef ENGINE_REPORT_H
#define ENGINE_REPORT_H

#include "base/engine.h"

/* Warns the client in one line and returns code. */
VixError report (VixError code, const char *fmt, ...) __attribute__ ((format (printf, 2, 3)));

/* The same for a failed system call: "path: doing: reason".  The code comes from err. */
VixError report_errno (int err, const char *path, const char *doing);

/* VIX_E_OUT_OF_MEMORY, reported. */
VixError report_no_memory (void);

#endif
