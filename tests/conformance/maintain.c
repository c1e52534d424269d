/* A program that is linked with the library, as others are with VDDK, and maintains disks.  One call each:
 *
 *   maintain create DISK TYPE SECTORS
 *   maintain child PARENT CHILD
 *   maintain attach PARENT CHILD       prints links and the first byte of the chain
 *   maintain clone DISK COPY TYPE
 *   maintain space DISK TYPE           prints bytes
 *   maintain grow DISK SECTORS
 *   maintain shrink DISK
 *   maintain defragment DISK
 *   maintain rename DISK NAME
 *   maintain check DISK REPAIR
 *   maintain unlink DISK
 *   maintain parameters                prints what GetConnectParams says of a local connection
 *
 * Calls that tell their progress print the last percentage.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vixDiskLib.h"

static VixDiskLibConnection connection;

/* Ends the program with the library's text when result is an error. */
static void
check (VixError result, const char *call)
{
  char *text;

  if (result == VIX_OK)
    return;
  text = VixDiskLib_GetErrorText (result, NULL);
  fprintf (stderr, "%s: error %lu: %s\n", call, result, text);
  VixDiskLib_FreeErrorText (text);
  exit (1);
}

static Bool
note_progress (void *data, int percent)
{
  *(int *) data = percent;
  return TRUE;
}

static VixDiskLibHandle
open_disk (const char *path, uint32 flags)
{
  VixDiskLibHandle handle;

  check (VixDiskLib_Open (connection, path, flags, &handle), "Open");
  return handle;
}

static VixDiskLibCreateParams
parameters_of (const char *type, const char *sectors)
{
  return (VixDiskLibCreateParams) {
    .diskType = (VixDiskLibDiskType) atoi (type),
    .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
    .hwVersion = VIXDISKLIB_HWVERSION_CURRENT,
    .capacity = strtoul (sectors, NULL, 10),
  };
}

/* The parent becomes a part of the child; its handle is good for Close only. */
static void
attach (const char *parent_path, const char *child_path)
{
  VixDiskLibHandle parent = open_disk (parent_path, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
  VixDiskLibHandle child = open_disk (child_path, VIXDISKLIB_FLAG_OPEN_READ_ONLY | VIXDISKLIB_FLAG_OPEN_SINGLE_LINK);
  uint8 sector[VIXDISKLIB_SECTOR_SIZE];
  VixDiskLibInfo *info;

  check (VixDiskLib_IsAttachPossible (parent, child), "IsAttachPossible");
  check (VixDiskLib_Attach (parent, child), "Attach");
  check (VixDiskLib_Close (parent), "Close");
  check (VixDiskLib_GetInfo (child, &info), "GetInfo");
  check (VixDiskLib_Read (child, 0, 1, sector), "Read");
  printf ("%d %u\n", info->numLinks, sector[0]);
  VixDiskLib_FreeInfo (info);
  check (VixDiskLib_Close (child), "Close");
}

static void
print_space (const char *path, const char *type)
{
  VixDiskLibHandle handle = open_disk (path, VIXDISKLIB_FLAG_OPEN_READ_ONLY);
  uint64 bytes;

  check (VixDiskLib_SpaceNeededForClone (handle, (VixDiskLibDiskType) atoi (type), &bytes), "SpaceNeededForClone");
  printf ("%lu\n", bytes);
  check (VixDiskLib_Close (handle), "Close");
}

static void
print_parameters (void)
{
  VixDiskLibConnectParams *params;

  check (VixDiskLib_GetConnectParams (connection, &params), "GetConnectParams");
  printf ("%s %s\n", params->vmxSpec ? params->vmxSpec : "-", params->serverName ? params->serverName : "-");
  VixDiskLib_FreeConnectParams (params);
}

/* Calls on an open disk. */
static void
change_open_disk (const char *command, char **words)
{
  VixDiskLibHandle handle = open_disk (words[0], 0);
  int percent = 0;

  if (strcmp (command, "child") == 0)
    check (VixDiskLib_CreateChild (handle, words[1], VIXDISKLIB_DISK_MONOLITHIC_SPARSE, note_progress, &percent),
           "CreateChild");
  else if (strcmp (command, "shrink") == 0)
    check (VixDiskLib_Shrink (handle, note_progress, &percent), "Shrink");
  else
    check (VixDiskLib_Defragment (handle, note_progress, &percent), "Defragment");
  check (VixDiskLib_Close (handle), "Close");
  printf ("%d\n", percent);
}

/* Calls that take paths. */
static void
change_disk (const char *command, char **words)
{
  VixDiskLibCreateParams params;
  int percent = 0;

  if (strcmp (command, "create") == 0) {
    params = parameters_of (words[1], words[2]);
    check (VixDiskLib_Create (connection, words[0], &params, note_progress, &percent), "Create");
  }
  else if (strcmp (command, "clone") == 0) {
    params = parameters_of (words[2], "0");
    check (VixDiskLib_Clone (connection, words[1], connection, words[0], &params, note_progress, &percent, FALSE),
           "Clone");
  }
  else
    check (VixDiskLib_Grow (connection, words[0], strtoul (words[1], NULL, 10), TRUE, note_progress, &percent), "Grow");
  printf ("%d\n", percent);
}

/* Nonzero: one of the given words, which a 0 ends. */
static int
is_one_of (const char *command, const char *const *words)
{
  while (*words && strcmp (command, *words) != 0)
    ++words;
  return *words != NULL;
}

static void
run (const char *command, char **words)
{
  static const char *const by_path[] = { "create", "clone", "grow", NULL };
  static const char *const open[] = { "child", "shrink", "defragment", NULL };

  if (is_one_of (command, by_path))
    change_disk (command, words);
  else if (is_one_of (command, open))
    change_open_disk (command, words);
  else if (strcmp (command, "attach") == 0)
    attach (words[0], words[1]);
  else if (strcmp (command, "space") == 0)
    print_space (words[0], words[1]);
  else if (strcmp (command, "rename") == 0)
    check (VixDiskLib_Rename (words[0], words[1]), "Rename");
  else if (strcmp (command, "check") == 0)
    check (VixDiskLib_CheckRepair (connection, words[0], (Bool) atoi (words[1])), "CheckRepair");
  else if (strcmp (command, "unlink") == 0)
    check (VixDiskLib_Unlink (connection, words[0]), "Unlink");
  else
    print_parameters ();
}

int
main (int argc, char *argv[])
{
  char *words[4] = { "", "", "", "" };

  if (argc < 2 || argc > 5)
    return 2;
  for (int i = 2; i < argc; i++)
    words[i - 2] = argv[i];
  check (VixDiskLib_Init (7, 0, NULL, NULL, NULL, NULL), "Init");
  check (VixDiskLib_Connect (NULL, &connection), "Connect");
  run (argv[1], words);
  check (VixDiskLib_Disconnect (connection), "Disconnect");
  VixDiskLib_Exit ();
  return 0;
}
