/* zlib, loaded when the first compressed grain is read. */
#ifndef ENGINE_INFLATE_H
#define ENGINE_INFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "vixDiskLib.h"

/* Unpacks a zlib stream (RFC 1950) of exactly size bytes into at most *length bytes, and sets *length to what came out.
 * VIX_E_DISK_NEEDSREPAIR, not reported: it is damaged, longer or shorter. */
VixError inflate_exactly (const uint8_t *packed, size_t size, uint8_t *buf, size_t *length);

#endif
