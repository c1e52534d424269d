/* What the fuzzer makes up: how to treat a disk, and the files of its folder.
 *
 * Byte 0: flags of the run.  Then records: file number (1 byte), offset (4), length (2), that many bytes of content.
 * Length 0 sets the size of the file.  Numbers are little-endian; what a file has no record of is zeros.  So a disk of
 * megabytes of which only tables matter stays small, and a change of the input is a change of the tables. */
#ifndef FUZZ_CONTAINER_H
#define FUZZ_CONTAINER_H

#include <stddef.h>
#include <stdint.h>

enum {
  RUN_WRITABLE = 1, /* open for writing, write, flush */
  RUN_SINGLE_LINK = 2,
  RUN_REPAIR = 4,
  RUN_SHRINK = 8,
  RUN_DEFRAGMENT = 16,
  RUN_GROW = 32,
  RUN_CLONE = 64,
  RUN_CHILD = 128,
};

/* Names of the files; the first one is opened. */
static const char *const container_names[] = { "disk.vmdk",      "disk-s001.vmdk",  "disk-s002.vmdk",
                                               "disk-flat.vmdk", "disk-delta.vmdk", "base.vmdk" };

#define CONTAINER_FILES (sizeof container_names / sizeof *container_names)
#define CONTAINER_MAX_RECORDS 256
#define CONTAINER_FILE_BYTES (16u << 20)

struct record {
  uint8_t file;
  uint32_t offset;
  uint16_t length;
  const uint8_t *data;
};

#define RECORD_HEADER 7

/* Splits an input; returns the number of records.  The last one may be cut short. */
static inline size_t
container_parse (const uint8_t *data, size_t size, uint8_t *flags, struct record records[CONTAINER_MAX_RECORDS])
{
  const uint8_t *end = data + size;
  size_t n = 0;

  *flags = size > 0 ? *data++ : 0;
  while (n < CONTAINER_MAX_RECORDS && data < end && (size_t) (end - data) >= RECORD_HEADER) {
    struct record *r = &records[n++];
    size_t length = (size_t) (data[5] | data[6] << 8);

    r->file = (uint8_t) (data[0] % CONTAINER_FILES);
    r->offset = (data[1] | (uint32_t) data[2] << 8 | (uint32_t) data[3] << 16 | (uint32_t) data[4] << 24)
              % (CONTAINER_FILE_BYTES + 1);
    data += RECORD_HEADER;
    r->length = (uint16_t) (length < (size_t) (end - data) ? length : (size_t) (end - data));
    r->data = data;
    data += r->length;
  }
  return n;
}

#endif
