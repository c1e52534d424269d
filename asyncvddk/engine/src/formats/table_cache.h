/* Tables of formats that are only read, in memory: bounded, replaced by a clock. */
#ifndef ENGINE_TABLE_CACHE_H
#define ENGINE_TABLE_CACHE_H

#include <pthread.h>

#include "base/io.h"

struct table_cache;

/* How many tables one of so many extents of a disk may keep in memory: openEngine.grainTableCacheBytes, or what stands
 * in its place, for all together. */
size_t table_cache_room (size_t table_bytes, size_t extents);

/* For n tables of so many bytes, of one of so many extents. */
VixError table_cache_new (uint32_t n, size_t table_bytes, size_t extents, struct table_cache **out);

/* NULL allowed. */
void table_cache_free (struct table_cache *c);

/* The table with this number, read from byte offset of the file if need be: VIX_OK, and it stays where it is until
 * table_cache_release.  DISK_WOULD_BLOCK with nowait. */
VixError table_cache_hold (struct table_cache *c, const struct file *f, uint32_t index, uint64_t offset, bool nowait,
                           const void **table);
void table_cache_release (struct table_cache *c);

#endif
