/* Messages to the callbacks that the client gave to VixDiskLib_InitEx. */
#ifndef ENGINE_LOG_H
#define ENGINE_LOG_H

#include "vixDiskLib.h"

/* One line each, without the newline; dropped when the client gave no callback.  Any thread, no locks. */
void engine_log (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));
void engine_warn (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* NULL: drop the messages. */
void log_set_callbacks (VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn);

#endif
