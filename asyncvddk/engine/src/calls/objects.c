/* Places for connections and disk handles. */
#include "calls/objects.h"

#include "base/engine.h"
#include "base/log.h"

#define MAX_CONNECTIONS 4096
#define MAX_HANDLES 16384
#define REST 64 /* a freed place is used again when at least so many were freed after it */
#define NONE (~0u)

static struct connection connections[MAX_CONNECTIONS];
static struct handle handles[MAX_HANDLES];

/* Free places are a queue: taken at the head, given back at the tail. */
struct pool {
  pthread_mutex_t lock; /* guards all below and object.next */
  void *places;
  size_t stride;
  unsigned capacity;
  unsigned used; /* places that were ever taken */
  unsigned head, tail, free;
};

static struct pool connection_pool = {
  .lock = PTHREAD_MUTEX_INITIALIZER,
  .places = connections,
  .stride = sizeof connections[0],
  .capacity = MAX_CONNECTIONS,
  .head = NONE,
  .tail = NONE,
};
static struct pool handle_pool = {
  .lock = PTHREAD_MUTEX_INITIALIZER,
  .places = handles,
  .stride = sizeof handles[0],
  .capacity = MAX_HANDLES,
  .head = NONE,
  .tail = NONE,
};

static struct object *
place (const struct pool *pool, unsigned index)
{
  return (struct object *) ((char *) pool->places + index * pool->stride);
}

/* NULL: all taken.  Locks the pool. */
static struct object *
take (struct pool *pool)
{
  SCOPED_LOCK (&pool->lock);
  struct object *object = NULL;

  if (pool->free > REST || (pool->free > 0 && pool->used == pool->capacity)) {
    object = place (pool, pool->head);
    pool->head = object->next;
    pool->tail = pool->head == NONE ? NONE : pool->tail;
    pool->free--;
  } else if (pool->used < pool->capacity)
    object = place (pool, pool->used++);
  if (object != NULL)
    gate_enter (&object->calls);
  return object;
}

/* Locks the pool. */
static void
give_back (struct pool *pool, struct object *object)
{
  SCOPED_LOCK (&pool->lock);
  unsigned index = (unsigned) ((size_t) ((char *) object - (char *) pool->places) / pool->stride);

  atomic_store (&object->state, OBJECT_FREE);
  object->next = NONE;
  if (pool->tail == NONE)
    pool->head = index;
  else
    place (pool, pool->tail)->next = index;
  pool->tail = index;
  pool->free++;
}

/* NULL: not the address of a place. */
static struct object *
place_at (const struct pool *pool, const void *client)
{
  size_t offset = (size_t) client - (size_t) pool->places;

  return offset < pool->capacity * pool->stride && offset % pool->stride == 0 ? (struct object *) client : NULL;
}

/* NULL: not the address of an open object; else the object, in use. */
static struct object *
pin (const struct pool *pool, const void *client)
{
  struct object *object = place_at (pool, client);

  if (object == NULL)
    return NULL;
  if (atomic_load (&object->state) != OBJECT_OPEN)
    return NULL;
  gate_enter (&object->calls);
  if (atomic_load (&object->state) == OBJECT_OPEN)
    return object;
  gate_leave (&object->calls);
  return NULL;
}

void
object_publish (struct object *object)
{
  atomic_store (&object->state, OBJECT_OPEN);
  gate_leave (&object->calls);
}

/* Ends the caller's use.  True for one caller only; then nobody uses the object any more and nobody can get it. */
static bool
retire (struct object *object)
{
  unsigned state = OBJECT_OPEN;
  bool first = atomic_compare_exchange_strong (&object->state, &state, OBJECT_CLOSING);

  gate_leave (&object->calls);
  if (first)
    gate_wait (&object->calls);
  return first;
}

struct connection *
connection_new (void)
{
  struct object *object = take (&connection_pool);

  return (struct connection *) object;
}

struct handle *
handle_new (void)
{
  struct handle *handle = (struct handle *) take (&handle_pool);

  if (handle != NULL)
    atomic_store (&handle->turn.callers, 0);
  return handle;
}

/* Forgets what it was, secrets included. */
static void
clear (struct connection *connection)
{
  server_free (connection->server);
  connection->server = NULL;
}

void
connection_discard (struct connection *connection)
{
  clear (connection);
  gate_leave (&connection->object.calls);
  give_back (&connection_pool, &connection->object);
}

void
handle_discard (struct handle *handle)
{
  free (handle->path);
  handle->path = NULL;
  gate_leave (&handle->object.calls);
  give_back (&handle_pool, &handle->object);
}

struct connection *
connection_get (const void *client)
{
  return (struct connection *) pin (&connection_pool, client);
}

struct handle *
handle_get_for (const void *client, const char *function)
{
  struct handle *handle = (struct handle *) pin (&handle_pool, client);

  if (handle != NULL)
    threads_enter_disk (&handle->turn, function);
  return handle;
}

void
connection_put (struct connection *connection)
{
  gate_leave (&connection->object.calls);
}

void
handle_put (struct handle *handle)
{
  threads_leave (&handle->turn);
  gate_leave (&handle->object.calls);
}

const char *
handle_transport (const void *client)
{
  struct handle *handle = (struct handle *) pin (&handle_pool, client);
  const char *transport = handle != NULL ? handle->transport : NULL;

  if (handle != NULL)
    gate_leave (&handle->object.calls);
  return transport;
}

/* As handle_close, for who holds the object and not its turn. */
static VixError
close_handle (struct handle *handle)
{
  VixError err;

  if (!retire (&handle->object))
    return VIX_E_INVALID_ARG;
  gate_wait (&handle->requests);
  err = disk_close (handle->disk);
  handle->disk = NULL;
  free (handle->path);
  handle->path = NULL;
  give_back (&handle_pool, &handle->object);
  return err;
}

struct disk *
handle_take_disk (struct handle *handle)
{
  struct disk *disk;

  threads_leave (&handle->turn);
  if (!retire (&handle->object))
    return NULL;
  gate_wait (&handle->requests);
  disk = handle->disk;
  handle->disk = NULL;
  free (handle->path);
  handle->path = NULL;
  atomic_store (&handle->object.state, OBJECT_EMPTY);
  return disk;
}

bool
handle_release (const void *client)
{
  struct object *object = place_at (&handle_pool, client);
  unsigned state = OBJECT_EMPTY;

  if (object == NULL || !atomic_compare_exchange_strong (&object->state, &state, OBJECT_CLOSING))
    return false;
  give_back (&handle_pool, object);
  return true;
}

VixError
handle_close (struct handle *handle)
{
  threads_leave (&handle->turn);
  return close_handle (handle);
}

/* Closes the open handles of a connection, NULL: of all. */
static void
close_forgotten (const struct connection *connection)
{
  unsigned used;

  pthread_mutex_lock (&handle_pool.lock);
  used = handle_pool.used;
  pthread_mutex_unlock (&handle_pool.lock);
  for (unsigned i = 0; i < used; i++) {
    struct handle *handle = (struct handle *) pin (&handle_pool, &handles[i]);
    bool ours = handle != NULL && (connection == NULL || handle->connection == connection);

    if (ours) {
      engine_warn ("%s is still open: closed now, its handle is no longer valid", handle->path);
      close_handle (handle);
    } else if (handle != NULL)
      gate_leave (&handle->object.calls);
    else if (atomic_load (&handles[i].object.state) == OBJECT_EMPTY
             && (connection == NULL || handles[i].connection == connection))
      handle_release (&handles[i]);
  }
}

VixError
connection_close (struct connection *connection)
{
  if (!retire (&connection->object))
    return VIX_E_DISK_INVALID_CONNECTION;
  close_forgotten (connection);
  clear (connection);
  give_back (&connection_pool, &connection->object);
  return VIX_OK;
}

void
objects_close_all (void)
{
  close_forgotten (NULL);
  for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
    struct connection *connection = connection_get (&connections[i]);

    if (connection != NULL) {
      engine_warn ("a connection is still open: closed now");
      connection_close (connection);
    }
  }
}
