/* zlib, loaded when the first grain is to be compressed. */
#ifndef ENGINE_DEFLATE_H
#define ENGINE_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "vixDiskLib.h"

/* VIX_E_DISK_SUBSYSTEM_INIT_FAIL, reported: this system has no zlib. */
VixError deflate_available (void);

/* Packs size bytes into a zlib stream (RFC 1950).  *length is the room in buf, and what was used of it. */
VixError deflate_into (const uint8_t *raw, size_t size, uint8_t *buf, size_t *length);

#endif
