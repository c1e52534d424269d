/* Messages to the callbacks that the client gave to VixDiskLib_InitEx, and to the log file if there is one. */
#ifndef ENGINE_LOG_H
#define ENGINE_LOG_H

#include "vixDiskLib.h"

/* One line each, without the newline; dropped when the client gave no callback.  Any thread, no locks. */
void engine_log (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));
void engine_warn (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* The client breaks a rule that cannot be answered by an error code: its panic callback, then abort. */
void engine_panic (const char *fmt, ...) __attribute__ ((format (printf, 1, 2), noreturn));

/* NULL: drop the messages.  Init and Exit, one at a time. */
void log_set_callbacks (VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic);

/* The file that the configuration asks for, if any.  Init and Exit, one at a time; what is logged before goes to the
 * callbacks alone. */
void log_open_file (void);
void log_close_file (void);

#endif
