/* Every call on a child that may run beside others, from threads, while it is asked again and again whether it can be
 * attached, and is attached: nobody waits for ever, and each call sees the child alone or the chain.
 *
 * Usage: attaching PARENT CHILD ROUNDS */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vixDiskLib.h"

#define QUESTIONS 20 /* whether it can be attached, before it is */
#define AFTERWARDS 5 /* calls of each kind when it is */
#define CHUNK 128
#define CHUNKS 8

static VixDiskLibHandle parent, child;
static atomic_bool attached;

static void
must (VixError code, const char *what)
{
  if (code != VIX_OK) {
    fprintf (stderr, "%s: %llu\n", what, (unsigned long long) code);
    exit (1);
  }
}

/* What a call answered first, and the other thing that it may answer: the child alone, then the chain. */
struct answers {
  uint64 alone, chain;
  unsigned n;
};

static void
check (struct answers *a, uint64 answer, const char *what)
{
  if (a->n == 0)
    *a = (struct answers) { .alone = answer, .chain = answer, .n = 1 };
  if (a->n == 1 && answer != a->alone) {
    a->chain = answer;
    a->n = 2;
  }
  if (answer != (a->n == 2 ? a->chain : a->alone)) {
    fprintf (stderr, "%s: %llu, after %llu and %llu\n", what, (unsigned long long) answer,
             (unsigned long long) a->alone, (unsigned long long) a->chain);
    exit (1);
  }
}

static void
read_metadata (struct answers *a)
{
  char value[64];

  must (VixDiskLib_ReadMetadata (child, "adapterType", value, sizeof value, NULL), "ReadMetadata");
  check (a, strlen (value), "ReadMetadata");
}

static void
read_keys (struct answers *a)
{
  char keys[4096];
  size_t size;

  must (VixDiskLib_GetMetadataKeys (child, keys, sizeof keys, &size), "GetMetadataKeys");
  check (a, size, "GetMetadataKeys");
}

/* From the metadata alone, and from metadata and content. */
static void
ask_for_space (struct answers *a)
{
  static const VixDiskLibDiskType types[] = { VIXDISKLIB_DISK_VMFS_FLAT, VIXDISKLIB_DISK_STREAM_OPTIMIZED,
                                              VIXDISKLIB_DISK_SPLIT_SPARSE };
  uint64 bytes;

  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    must (VixDiskLib_SpaceNeededForClone (child, types[i], &bytes), "SpaceNeededForClone");
    check (&a[i], bytes, "SpaceNeededForClone");
  }
}

static void
get_info (struct answers *a)
{
  VixDiskLibInfo *info;

  must (VixDiskLib_GetInfo (child, &info), "GetInfo");
  check (a, (uint64) info->numLinks, "GetInfo");
  VixDiskLib_FreeInfo (info);
}

static void
query_blocks (struct answers *a)
{
  VixDiskLibBlockList *blocks;

  must (VixDiskLib_QueryAllocatedBlocks (child, 0, CHUNKS * CHUNK, CHUNK, &blocks), "QueryAllocatedBlocks");
  check (a, blocks->numBlocks, "QueryAllocatedBlocks");
  must (VixDiskLib_FreeBlockList (blocks), "FreeBlockList");
}

/* Calls again and again while the child is attached, and some times when it is. */
static void *
call (void *opaque)
{
  void (*const one) (struct answers *) = *(void (**) (struct answers *)) opaque;
  struct answers answers[3] = { { 0 } };

  for (unsigned after = 0; after < AFTERWARDS; after += atomic_load (&attached))
    one (answers);
  return NULL;
}

static void
attach_beside (void)
{
  static void (*calls[]) (struct answers *) = { read_metadata, read_keys, ask_for_space, get_info, query_blocks };
  pthread_t ids[sizeof calls / sizeof calls[0]];

  atomic_store (&attached, false);
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
    must ((VixError) pthread_create (&ids[i], NULL, call, &calls[i]), "pthread_create");
  for (int i = 0; i < QUESTIONS; i++)
    must (VixDiskLib_IsAttachPossible (parent, child), "IsAttachPossible");
  must (VixDiskLib_Attach (parent, child), "Attach");
  atomic_store (&attached, true);
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
    pthread_join (ids[i], NULL);
}

int
main (int argc, char **argv)
{
  const uint32 flags = VIXDISKLIB_FLAG_OPEN_READ_ONLY | VIXDISKLIB_FLAG_OPEN_SINGLE_LINK;
  VixDiskLibConnection connection;

  if (argc != 4)
    return 2;
  must (VixDiskLib_InitEx (8, 0, NULL, NULL, NULL, NULL, NULL), "InitEx");
  must (VixDiskLib_Connect (NULL, &connection), "Connect");
  for (int i = atoi (argv[3]); i > 0; i--) {
    must (VixDiskLib_Open (connection, argv[1], flags, &parent), "Open");
    must (VixDiskLib_Open (connection, argv[2], flags, &child), "Open");
    attach_beside ();
    must (VixDiskLib_Close (parent), "Close");
    must (VixDiskLib_Close (child), "Close");
  }
  must (VixDiskLib_Disconnect (connection), "Disconnect");
  VixDiskLib_Exit ();
  return 0;
}
