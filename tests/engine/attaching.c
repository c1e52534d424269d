/* Every call on a child that may run beside others, from threads, while it is asked again and again whether it can be
 * attached, and is attached: nobody waits for ever, and each call sees the child alone or the chain.
 *
 * Usage: attaching PARENT CHILD ROUNDS */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "vixDiskLib.h"

#define CALLS 300
#define CHUNK 128

static VixDiskLibHandle parent, child;

static void
must (VixError code, const char *what)
{
  if (code != VIX_OK) {
    fprintf (stderr, "%s: %llu\n", what, (unsigned long long) code);
    exit (1);
  }
}

static void *
read_metadata (void *unused)
{
  char value[64];

  (void) unused;
  for (int i = 0; i < CALLS; i++)
    must (VixDiskLib_ReadMetadata (child, "adapterType", value, sizeof value, NULL), "ReadMetadata");
  return NULL;
}

static void *
read_keys (void *unused)
{
  char keys[4096];

  (void) unused;
  for (int i = 0; i < CALLS; i++)
    must (VixDiskLib_GetMetadataKeys (child, keys, sizeof keys, NULL), "GetMetadataKeys");
  return NULL;
}

static void *
ask_for_space (void *unused)
{
  uint64 bytes;

  (void) unused;
  for (int i = 0; i < CALLS / 10; i++) {
    must (VixDiskLib_SpaceNeededForClone (child, VIXDISKLIB_DISK_SPLIT_SPARSE, &bytes), "SpaceNeededForClone");
    must (VixDiskLib_SpaceNeededForClone (child, VIXDISKLIB_DISK_STREAM_OPTIMIZED, &bytes), "SpaceNeededForClone");
  }
  return NULL;
}

static void *
look (void *unused)
{
  VixDiskLibInfo *info;
  VixDiskLibBlockList *blocks;

  (void) unused;
  for (int i = 0; i < CALLS; i++) {
    must (VixDiskLib_GetInfo (child, &info), "GetInfo");
    VixDiskLib_FreeInfo (info);
    must (VixDiskLib_QueryAllocatedBlocks (child, 0, 8 * CHUNK, CHUNK, &blocks), "QueryAllocatedBlocks");
    must (VixDiskLib_FreeBlockList (blocks), "FreeBlockList");
  }
  return NULL;
}

static void
attach_beside (void)
{
  void *(*const work[]) (void *) = { read_metadata, read_keys, ask_for_space, look };
  pthread_t ids[sizeof work / sizeof work[0]];

  for (size_t i = 0; i < sizeof work / sizeof work[0]; i++)
    must ((VixError) pthread_create (&ids[i], NULL, work[i], NULL), "pthread_create");
  for (int i = 0; i < CALLS; i++)
    must (VixDiskLib_IsAttachPossible (parent, child), "IsAttachPossible");
  must (VixDiskLib_Attach (parent, child), "Attach");
  for (size_t i = 0; i < sizeof work / sizeof work[0]; i++)
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
