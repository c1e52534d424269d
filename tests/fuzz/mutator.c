/* Changes of an input that keep its records: most go into a table, a header or the text, some move, copy, drop or cut. */
#include <stdlib.h>
#include <string.h>

#include "container.h"

size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct output {
  uint8_t *data;
  size_t size, max;
};

static void
put (struct output *out, const struct record *r)
{
  const uint8_t header[RECORD_HEADER] = { r->file,
                                          (uint8_t) r->offset,
                                          (uint8_t) (r->offset >> 8),
                                          (uint8_t) (r->offset >> 16),
                                          (uint8_t) (r->offset >> 24),
                                          (uint8_t) r->length,
                                          (uint8_t) (r->length >> 8) };

  if (out->max - out->size < sizeof header + r->length)
    return;
  memcpy (out->data + out->size, header, sizeof header);
  if (r->length > 0)
    memcpy (out->data + out->size + sizeof header, r->data, r->length);
  out->size += sizeof header + r->length;
}

/* A value that is on some edge. */
static uint64_t
interesting (unsigned random)
{
  static const uint64_t values[] = { 0, 1, 2, 20, 21, 127, 128, 129, 512, 65535, 65536, 1u << 31, UINT32_MAX, UINT64_MAX };
  const size_t n = sizeof values / sizeof *values;

  return random % 3 == 0 ? random >> 8 & 1023 : values[(random >> 4) % n];
}

/* Overwrites a 32-bit or 64-bit field, wherever fields of the formats begin. */
static void
change_field (uint8_t *buf, size_t length, unsigned random)
{
  const size_t width = random & 1 ? 8 : 4;
  const uint64_t value = interesting (random >> 1);

  if (length >= width)
    memcpy (buf + (random >> 8) % ((length - width) / 4 + 1) * 4, &value, width);
}

/* One record, changed. */
static void
mutate_record (struct output *out, struct record r, unsigned random)
{
  static uint8_t buf[UINT16_MAX + 64];
  const size_t max = r.length + 64u < UINT16_MAX ? r.length + 64u : UINT16_MAX;

  if (r.length > 0)
    memcpy (buf, r.data, r.length);
  r.data = buf;
  switch (random % 16) {
  case 0: r.offset = (uint32_t) interesting (random >> 4) * 512; break;
  case 1: r.offset += (random >> 4 & 7) - 4u; break;
  case 2: r.length = (uint16_t) (r.length ? (random >> 4) % r.length : 0); break;
  case 3: r.file = (uint8_t) ((random >> 4) % CONTAINER_FILES); break;
  case 4:
  case 5:
  case 6:
  case 7: change_field (buf, r.length, random >> 4); break;
  default: r.length = (uint16_t) LLVMFuzzerMutate (buf, r.length, max); break;
  }
  put (out, &r);
}

size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
  struct record records[CONTAINER_MAX_RECORDS];
  uint8_t flags, *copy = malloc (size + 1);
  struct output out = { data, 0, max_size };
  size_t n, chosen;

  srandom (seed);
  if (!copy || max_size < 1)
    abort ();
  memcpy (copy, data, size);
  n = container_parse (copy, size, &flags, records);
  if (n == 0 || random () % 32 == 0) {
    free (copy);
    return LLVMFuzzerMutate (data, size, max_size);
  }
  chosen = (size_t) random () % n;
  out.data[out.size++] = random () % 8 == 0 ? flags ^ (uint8_t) (1u << random () % 8) : flags;
  for (size_t i = 0; i < n; ++i) {
    const unsigned how = i == chosen ? (unsigned) random () % 16 : 16;

    if (how == 0)
      continue;
    if (how == 1)
      put (&out, &records[i]);
    if (how < 16)
      mutate_record (&out, records[i], (unsigned) random ());
    else
      put (&out, &records[i]);
  }
  free (copy);
  return out.size;
}
