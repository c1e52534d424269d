/* What connections and disk handles point to. */
#ifndef ENGINE_OBJECTS_H
#define ENGINE_OBJECTS_H

#include <stdbool.h>

#include "calls/gate.h"
#include "calls/pace.h"
#include "calls/threads.h"
#include "disk/disk.h"
#include "remote/server.h"

/* Connections and handles live in two arrays whose memory is never given back, and a place is used again only after many
 * others: so a stale, foreign or NULL pointer from the client is recognised and answered by an error code. */
enum object_state { OBJECT_FREE, OBJECT_OPEN, OBJECT_CLOSING, OBJECT_EMPTY /* a handle whose disk was taken */ };

struct object {
  atomic_uint state; /* enum object_state */
  struct gate calls; /* calls that use the object now */
  unsigned next;     /* in the list of free places; guarded by the pool's lock */
};

struct connection {
  struct object object;
  bool read_only;        /* set before object_publish, as all below */
  struct server *server; /* NULL: local */
  int thread;            /* that made it; see threads_self */
};

struct handle {
  struct object object;
  struct gate requests; /* accepted asynchronous requests not yet called back */
  struct connection *connection;
  struct disk *disk;
  char *path;
  uint64 capacity; /* sectors */
  bool read_only;
  const char *transport; /* static */
  int thread;            /* that opened it; see threads_self */
  struct turn turn;      /* of the calls that use it */
  struct pace pace;
};

/* NULL: all places taken.  The result is in use (as by connection_get) and becomes visible with object_publish. */
struct connection *connection_new (void);
struct handle *handle_new (void);

/* Makes the new object valid for the client and ends the caller's use of it. */
void object_publish (struct object *object);

/* Gives a new object that was never published back. */
void connection_discard (struct connection *connection);
void handle_discard (struct handle *handle);

/* The object behind the client's pointer, kept from closing until _put; NULL for anything that is no open object. */
struct connection *connection_get (const void *client);
struct handle *handle_get_for (const void *client, const char *function);

/* For an exported function: also checks that it is the only one with this handle, if that is wanted. */
#define handle_get(client) handle_get_for (client, __func__)


/* How the disk is reached, for a call that may run beside any other; NULL: no open disk. */
const char *handle_transport (const void *client);
void connection_put (struct connection *connection);
void handle_put (struct handle *handle);

/* Ends the caller's use and closes: later gets fail, running calls and requests are waited for, the place is free afterwards.
 * The error is that of disk_close; VIX_E_INVALID_ARG, VIX_E_DISK_INVALID_CONNECTION: another thread closes it already. */
VixError handle_close (struct handle *handle);
VixError connection_close (struct connection *connection);

/* As handle_close, but the disk is the caller's now, and the client may still close the handle, by handle_release: true if
 * it was such a one.  NULL: another thread closes it. */
struct disk *handle_take_disk (struct handle *handle);
bool handle_release (const void *client);

/* Closes what the client forgot, with a warning for each.  Called by the last Exit. */
void objects_close_all (void);

/* For use with __attribute__ ((cleanup)): the pin of the current scope. */
#define WITH_HANDLE __attribute__ ((cleanup (handle_unpin)))
#define WITH_CONNECTION __attribute__ ((cleanup (connection_unpin)))

static inline void
handle_unpin (struct handle **handle)
{
  if (*handle != NULL)
    handle_put (*handle);
}

static inline void
connection_unpin (struct connection **connection)
{
  if (*connection != NULL)
    connection_put (*connection);
}

#endif
