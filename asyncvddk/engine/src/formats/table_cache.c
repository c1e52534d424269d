#define _GNU_SOURCE
#include "formats/table_cache.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/config.h"

#define CACHE_BYTES (8ull << 20)
#define CACHE_MIN_TABLES 4u /* less, and threads that read side by side take each other's tables away */
#define CACHE_MAX_TABLES 65535u /* a slot number and "none" fit into 16 bits */

struct cached {
  uint32_t index;
  atomic_bool used; /* since the clock's hand passed */
  void *table;      /* NULL: never used */
};

struct table_cache {
  pthread_rwlock_t lock; /* guards everything; never held over I/O */
  size_t table_bytes;
  uint32_t n_slots, hand;
  uint16_t *slot_of; /* per table: slot + 1, 0 if not cached */
  struct cached *slots;
};

size_t
table_cache_room (size_t table_bytes, size_t extents)
{
  const uint64_t room = config_number ("openEngine.grainTableCacheBytes", CACHE_BYTES, 0, 1ull << 32) / table_bytes
                        / (extents > 0 ? extents : 1);

  return room < CACHE_MIN_TABLES ? CACHE_MIN_TABLES : room > CACHE_MAX_TABLES ? CACHE_MAX_TABLES : (size_t) room;
}

VixError
table_cache_new (uint32_t n, size_t table_bytes, size_t extents, struct table_cache **out)
{
  struct table_cache *c = calloc (1, sizeof *c);

  if (!c)
    return report_no_memory ();
  pthread_rwlock_init (&c->lock, NULL);
  c->table_bytes = table_bytes;
  c->n_slots = (uint32_t) table_cache_room (table_bytes, extents);
  c->slot_of = calloc (n, sizeof *c->slot_of);
  c->slots = calloc (c->n_slots, sizeof *c->slots);
  if (!c->slot_of || !c->slots) {
    table_cache_free (c);
    return report_no_memory ();
  }
  *out = c;
  return VIX_OK;
}

void
table_cache_free (struct table_cache *c)
{
  if (!c)
    return;
  for (uint32_t i = 0; c->slots && i < c->n_slots; ++i)
    free (c->slots[i].table);
  free (c->slots);
  free (c->slot_of);
  pthread_rwlock_destroy (&c->lock);
  free (c);
}

/* NULL: not cached.  Needs the lock, for reading at least. */
static const void *
find (struct table_cache *c, uint32_t index)
{
  const uint32_t slot = c->slot_of[index];

  if (slot == 0)
    return NULL;
  atomic_store_explicit (&c->slots[slot - 1].used, true, memory_order_relaxed);
  return c->slots[slot - 1].table;
}

/* Puts a table (taken over) in the place of one that was not used lately.  Needs the lock for writing. */
static void
install (struct table_cache *c, uint32_t index, void *table)
{
  struct cached *slot;

  do {
    slot = &c->slots[c->hand];
    c->hand = (c->hand + 1) % c->n_slots;
  } while (slot->table && atomic_exchange (&slot->used, false));
  if (slot->table)
    c->slot_of[slot->index] = 0;
  free (slot->table);
  slot->table = table;
  slot->index = index;
  atomic_store (&slot->used, true);
  c->slot_of[index] = (uint16_t) (slot - c->slots + 1);
}

/* Takes the lock. */
static VixError
load (struct table_cache *c, const struct file *f, uint32_t index, uint64_t offset, bool nowait)
{
  CLEANUP_FREE void *table = malloc (c->table_bytes);
  struct iovec iov = { table, c->table_bytes };
  VixError r = table ? file_readv (f, &iov, 1, offset, nowait) : report_no_memory ();

  if (r != VIX_OK)
    return r;
  pthread_rwlock_wrlock (&c->lock);
  if (c->slot_of[index] == 0) {
    install (c, index, table);
    table = NULL;
  }
  pthread_rwlock_unlock (&c->lock);
  return VIX_OK;
}

VixError
table_cache_hold (struct table_cache *c, const struct file *f, uint32_t index, uint64_t offset, bool nowait,
                  const void **table)
{
  pthread_rwlock_rdlock (&c->lock);
  while (!(*table = find (c, index))) {
    VixError r;

    pthread_rwlock_unlock (&c->lock);
    r = load (c, f, index, offset, nowait);
    if (r != VIX_OK)
      return r;
    pthread_rwlock_rdlock (&c->lock);
  }
  return VIX_OK;
}

void
table_cache_release (struct table_cache *c)
{
  pthread_rwlock_unlock (&c->lock);
}
