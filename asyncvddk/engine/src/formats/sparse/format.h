/* Hosted sparse extent on disk: numbers little-endian, offsets and sizes in sectors. */
#ifndef ENGINE_SPARSE_FORMAT_H
#define ENGINE_SPARSE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define SPARSE_MAGIC 0x564d444bu /* "KDMV" */
#define SPARSE_MAGIC_UNFINISHED 0x766d646bu /* "kdmv": its writer did not get to the end */

struct sparse_header {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  uint64_t capacity;
  uint64_t grain_size;
  uint64_t descriptor_offset;
  uint64_t descriptor_size;
  uint32_t num_gtes_per_gt;
  uint64_t rgd_offset;
  uint64_t gd_offset;
  uint64_t overhead; /* sectors before the first grain */
  uint8_t unclean_shutdown;
  uint8_t newlines[4];
  uint16_t compress_algorithm;
  uint8_t pad[433];
} __attribute__ ((packed));

static_assert (sizeof (struct sparse_header) == 512, "the header is one sector");
static_assert (offsetof (struct sparse_header, unclean_shutdown) == 72, "offset of uncleanShutdown");

#define SPARSE_NEWLINES "\n \r\n"

#define SPARSE_FLAG_NEWLINES 0x1u
#define SPARSE_FLAG_REDUNDANT 0x2u
#define SPARSE_FLAG_ZEROED_GTE 0x4u
#define SPARSE_FLAG_COMPRESSED 0x10000u
#define SPARSE_FLAG_MARKERS 0x20000u
#define SPARSE_FLAGS_INCOMPATIBLE 0xffff0000u

#define SPARSE_GD_AT_END UINT64_MAX
#define SPARSE_GTE_ZEROED 1u

/* What we write. */
#define SPARSE_GRAIN_SECTORS 128u
#define SPARSE_GTES_PER_GT 512u
#define SPARSE_DESCRIPTOR_SECTORS 20u

/* Sectors of a file that a grain table can address. */
#define SPARSE_MAX_FILE_SECTORS (1ull << 32)

/* Bounds on what is read. */
#define SPARSE_MAX_TABLES (1ull << 21)

#endif
