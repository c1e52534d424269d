/* The border between Python (native/_core.py) and the core's threads. Internal: no other program links it.
 *
 * Three nouns. A port is the completion ring of one event loop. A worker is the one OS thread of a connection; it makes
 * every call of that connection, in order, and answers into its port. A command is a call to make: a function's address,
 * up to eight integer or pointer arguments and a tag that comes back with the result.
 */
#ifndef ASYNCVDDK_CORE_H
#define ASYNCVDDK_CORE_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_API __attribute__ ((visibility ("default")))

#define CORE_ARGS 8                 /* VixDiskLib_Clone has the most */

/* How a command is made; bits. */
#define CORE_SERIAL   1u            /* under the process-wide lock that VDDK wants for Connect, Open, Close ... */
#define CORE_ASYNC    2u            /* ReadAsync or WriteAsync: the answer comes with its completion callback */
#define CORE_POST     4u            /* nobody waits: no completion */

/* What a command of 88 bytes is; Python packs an array of them ("=11Q"). */
struct core_command {
  uint64_t tag;
  uint64_t function;
  uint64_t mode;                    /* CORE_SERIAL ... */
  uint64_t args[CORE_ARGS];
};

/* An answer; Python unpacks an array of them ("=QQ"). */
struct core_completion {
  uint64_t tag;                     /* with CORE_PROGRESS: not the end, the call has come so far */
  uint64_t result;                  /* the function's value, or the percentage */
};

#define CORE_PROGRESS (1ull << 63)  /* in a completion's tag */
#define CORE_LOGGED   (1u << 31)    /* in core_port_drain's result: log messages wait */

/* What core_log_pop tells of a message. */
struct core_log_message {
  uint64_t tag;                     /* command during which the worker's thread said it, 0 elsewhere */
  uint32_t worker;                  /* number of that worker, 0 for the library's own threads */
  uint32_t level;                   /* 0 log, 1 warn, 2 panic */
};

struct core_port;
struct core_worker;
struct core_progress;

/* log.c: for port.c and worker.c */
bool core_log_waits (void);
extern _Thread_local uint64_t core_current_tag;
extern _Thread_local uint32_t core_current_worker;

/* port.c: for worker.c and progress */
void core_port_ref (struct core_port *port);
void core_port_unref (struct core_port *port);
CORE_API void core_port_wake (struct core_port *port);
void core_port_push (struct core_port *port, uint64_t tag, uint64_t result);

/* Lock for the scope in which it stands. */
static inline void
core_unlock (pthread_mutex_t **mutex)
{
  pthread_mutex_unlock (*mutex);
}

#define ACQUIRE(mutex)                                                              \
  __attribute__ ((cleanup (core_unlock))) pthread_mutex_t *scope_lock_ = (mutex); \
  pthread_mutex_lock (scope_lock_)

#endif
