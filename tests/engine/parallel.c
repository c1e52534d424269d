/* Reads and writes of one handle at once, from threads and from asynchronous calls: each sector must hold what was
 * written to it last, or one of the things that were being written to it together.
 *
 * Usage: parallel DISK SEED ROUNDS OVERLAP
 *
 * Work goes in rounds.  In a round every worker makes a batch of requests; when all are done, the results of reads and
 * then the disk itself are compared with the model.  With OVERLAP 0 a worker writes to sectors of its own. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vixDiskLib.h"

#define WORKERS 4 /* the first one makes asynchronous calls */
#define BATCH 12
#define MAX_COUNT 400
#define AREA 4096 /* sectors that are used in a round */
#define STEP 999 /* the area moves on, so that there are always grains that nobody has written to */
#define WORDS (512 / sizeof (uint32))

/* What is written: every word of a sector is the stamp of the request, so that a torn sector is seen. */
struct request {
  uint32 stamp;
  bool write;
  uint64 start, count; /* in the area */
  uint32 *buffer;
  _Atomic VixError result;
};

static VixDiskLibHandle handle;
static uint64 capacity, origin; /* of the area */
static unsigned rounds;
static bool overlap;
static struct request requests[WORKERS][BATCH];
static uint32 *settled; /* the model between rounds: the word of each sector of the disk */
static pthread_barrier_t barrier;

static void
must (bool condition, const char *what, uint64 a, uint64 b)
{
  if (!condition) {
    fprintf (stderr, "%s: %llu, %llu\n", what, (unsigned long long) a, (unsigned long long) b);
    exit (1);
  }
}

/* Any place for a read; for a write with disjoint areas the worker's own part of them. */
static void
choose (struct request *r, unsigned worker, uint32 stamp, unsigned *seed)
{
  const uint64 part = AREA / WORKERS;

  r->stamp = stamp;
  r->write = rand_r (seed) % 2;
  r->count = (uint64) rand_r (seed) % (rand_r (seed) % 2 ? MAX_COUNT : 8) + 1;
  r->start = (uint64) rand_r (seed) % (part - r->count);
  if (r->write && !overlap)
    r->start += worker * part;
  else
    r->start = (r->start + (uint64) rand_r (seed) % AREA) % (AREA - r->count);
  for (uint64 i = 0; r->write && i < r->count * WORDS; ++i)
    r->buffer[i] = stamp;
}

static void
completed (void *data, VixError result)
{
  atomic_store (&((struct request *) data)->result, result);
}

static void
make (struct request *r, bool async)
{
  uint8 *buffer = (uint8 *) r->buffer;
  const uint64 at = origin + r->start;

  atomic_store (&r->result, VIX_ASYNC);
  if (async) {
    const VixError told = r->write ? VixDiskLib_WriteAsync (handle, at, r->count, buffer, completed, r)
                                   : VixDiskLib_ReadAsync (handle, at, r->count, buffer, completed, r);

    must (told == VIX_ASYNC, "submit", told, r->start);
    return;
  }
  completed (r, r->write ? VixDiskLib_Write (handle, at, r->count, buffer)
                         : VixDiskLib_Read (handle, at, r->count, buffer));
}

/* What a clone of another type would take: from what the disk database says, which changes meanwhile. */
static void
ask_for_space (unsigned round)
{
  const VixDiskLibDiskType type = round % 8 == 0 ? VIXDISKLIB_DISK_UNKNOWN : VIXDISKLIB_DISK_VMFS_FLAT;
  uint64 bytes;

  must (VixDiskLib_SpaceNeededForClone (handle, type, &bytes) == VIX_OK, "SpaceNeededForClone", round, type);
}

/* Every value is another one, so that the text before it is given back. */
static void
change_metadata (unsigned round)
{
  char value[16];

  snprintf (value, sizeof value, "%u", round);
  must (VixDiskLib_WriteMetadata (handle, "round", value) == VIX_OK, "WriteMetadata", round, 0);
}

/* Other calls that are made meanwhile. */
static void
disturb (unsigned worker, unsigned round)
{
  VixDiskLibBlockList *list;
  VixDiskLibInfo *info;

  if (worker == 1)
    must (VixDiskLib_Flush (handle) == VIX_OK, "Flush", round, 0);
  if (worker == 2 && VixDiskLib_QueryAllocatedBlocks (handle, origin / 128 * 128, AREA, 128, &list) == VIX_OK)
    VixDiskLib_FreeBlockList (list);
  if (worker == 2)
    ask_for_space (round);
  if (worker == 3 && VixDiskLib_GetInfo (handle, &info) == VIX_OK)
    VixDiskLib_FreeInfo (info);
  if (worker == 3)
    change_metadata (round);
}

static void *
work (void *opaque)
{
  const unsigned worker = (unsigned) (size_t) opaque;

  for (unsigned round = 0; round < rounds; ++round) {
    pthread_barrier_wait (&barrier);
    for (unsigned i = 0; i < BATCH; ++i) {
      make (&requests[worker][i], worker == 0);
      if (i == BATCH / 2)
        disturb (worker, round);
    }
    if (worker == 0)
      must (VixDiskLib_Wait (handle) == VIX_OK, "Wait", round, 0);
    pthread_barrier_wait (&barrier);
  }
  return NULL;
}

/* True if mask covers the same of a stamp that the sector may hold: it did before the round, or one of the round's writes
 * put it there. */
static bool
possible (uint64 sector, uint32 stamp, uint32 mask)
{
  if (((settled[origin + sector] ^ stamp) & mask) == 0)
    return true;
  for (unsigned w = 0; w < WORKERS; ++w)
    for (unsigned i = 0; i < BATCH; ++i) {
      const struct request *r = &requests[w][i];

      if (r->write && ((r->stamp ^ stamp) & mask) == 0 && sector >= r->start && sector < r->start + r->count)
        return true;
    }
  return false;
}

/* The same for a word that may have been read while it was written to, byte by byte. */
static bool
possible_mixture (uint64 sector, uint32 word)
{
  for (uint32 mask = 0xff; mask != 0; mask <<= 8)
    if (!possible (sector, word, mask))
      return false;
  return true;
}

/* A sector that was read while it was written to may be a mixture: the kernel copies without a lock for readers, and not
 * even by whole words. */
static uint32
check_sector (uint64 sector, const uint32 *words, bool quiet)
{
  for (unsigned i = 0; i < WORDS; ++i) {
    if (i > 0 && words[i] == words[i - 1])
      continue;
    must (i == 0 || !quiet, "a sector is mixed", sector, words[i]);
    must (quiet ? possible (sector, words[i], ~0u) : possible_mixture (sector, words[i]),
          "a sector holds what nobody wrote there", sector, words[i]);
  }
  return words[0];
}

/* Is there a write to the sector in this round? */
static bool
written (uint64 sector)
{
  for (unsigned w = 0; w < WORKERS; ++w)
    for (unsigned i = 0; i < BATCH; ++i) {
      const struct request *r = &requests[w][i];

      if (r->write && sector >= r->start && sector < r->start + r->count)
        return true;
    }
  return false;
}

static void
check_round (uint32 *area)
{
  for (unsigned w = 0; w < WORKERS; ++w)
    for (unsigned i = 0; i < BATCH; ++i) {
      const struct request *r = &requests[w][i];

      must (r->result == VIX_OK, "a request failed", r->result, r->start);
      for (uint64 s = 0; !r->write && s < r->count; ++s)
        check_sector (r->start + s, r->buffer + s * WORDS, false);
    }
  must (VixDiskLib_Read (handle, origin, AREA, (uint8 *) area) == VIX_OK, "Read", 0, 0);
  for (uint64 s = 0; s < AREA; ++s) {
    const uint32 stamp = check_sector (s, area + s * WORDS, true);

    must (stamp != settled[origin + s] || !written (s), "a write is lost", s, stamp);
    settled[origin + s] = stamp;
  }
}

/* Reads the whole disk: what the model begins with, or what must be there in the end. */
static void
read_all (uint32 *area, bool compare)
{
  for (uint64 start = 0; start < capacity; start += AREA) {
    const uint64 count = capacity - start < AREA ? capacity - start : AREA;

    must (VixDiskLib_Read (handle, start, count, (uint8 *) area) == VIX_OK, "Read", start, count);
    for (uint64 s = 0; s < count; ++s) {
      must (!compare || settled[start + s] == area[s * WORDS], "a write did not reach the file", start + s, area[s * WORDS]);
      settled[start + s] = area[s * WORDS];
    }
  }
}

static void
start_workers (pthread_t threads[WORKERS])
{
  pthread_barrier_init (&barrier, NULL, WORKERS + 1);
  for (unsigned w = 0; w < WORKERS; ++w) {
    for (unsigned i = 0; i < BATCH; ++i)
      requests[w][i].buffer = malloc (MAX_COUNT * 512);
    must (pthread_create (&threads[w], NULL, work, (void *) (size_t) w) == 0, "pthread_create", w, 0);
  }
}

static void
stop_workers (pthread_t threads[WORKERS])
{
  for (unsigned w = 0; w < WORKERS; ++w) {
    pthread_join (threads[w], NULL);
    for (unsigned i = 0; i < BATCH; ++i)
      free (requests[w][i].buffer);
  }
  memset (requests, 0, sizeof requests);
}

static void
run (uint32 *area, unsigned seed)
{
  pthread_t threads[WORKERS];
  uint32 stamp = 0;

  start_workers (threads);
  for (unsigned round = 0; round < rounds; ++round) {
    origin = (capacity / 2 + round * STEP) % (capacity - AREA);
    for (unsigned w = 0; w < WORKERS; ++w)
      for (unsigned i = 0; i < BATCH; ++i)
        choose (&requests[w][i], w, ++stamp, &seed);
    pthread_barrier_wait (&barrier);
    pthread_barrier_wait (&barrier);
    check_round (area);
  }
  stop_workers (threads);
}

static void
open_disk (VixDiskLibConnection connection, const char *path, uint32 flags)
{
  VixDiskLibInfo *info;

  must (VixDiskLib_Open (connection, path, flags, &handle) == VIX_OK, "Open", flags, 0);
  must (VixDiskLib_GetInfo (handle, &info) == VIX_OK && info->capacity > AREA, "GetInfo", 0, 0);
  capacity = info->capacity;
  VixDiskLib_FreeInfo (info);
}

int
main (int argc, char **argv)
{
  VixDiskLibConnection connection;
  uint32 *area = malloc (AREA * 512);

  must (argc == 5, "usage: parallel DISK SEED ROUNDS OVERLAP", 0, 0);
  rounds = (unsigned) atoi (argv[3]);
  overlap = atoi (argv[4]) != 0;
  must (VixDiskLib_InitEx (8, 0, NULL, NULL, NULL, NULL, NULL) == VIX_OK, "InitEx", 0, 0);
  must (VixDiskLib_Connect (NULL, &connection) == VIX_OK, "Connect", 0, 0);
  open_disk (connection, argv[1], 0);
  settled = malloc (capacity * sizeof *settled);
  read_all (area, false);
  run (area, (unsigned) atoi (argv[2]));
  must (VixDiskLib_Close (handle) == VIX_OK, "Close", 0, 0);
  open_disk (connection, argv[1], VIXDISKLIB_FLAG_OPEN_READ_ONLY);
  read_all (area, true);
  VixDiskLib_Close (handle);
  VixDiskLib_Disconnect (connection);
  VixDiskLib_Exit ();
  free (area);
  free (settled);
  return 0;
}
