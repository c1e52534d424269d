/* Makes calls of the library, one for each argument, and dies in the middle if it is told to, or has a call fail.
 *
 * Usage: crash_run LIBRARY die|tear|fail|log N|LOG COMMAND...
 *
 * After each command that went well its number goes to standard output; "error CODE" ends the commands, and "met" follows
 * if a call failed.  The environment's
 * CRASH_SETTINGS names a configuration file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash_shim.h"
#include "vixDiskLib.h"

static void *library;
static VixDiskLibConnection connection;
static VixDiskLibHandle handles[2]; /* of "open" and "parent" */
static char *words[5];

#define CALL(name) ((__typeof__ (&name)) dlsym (library, #name))

static uint64
number (int i)
{
  return strtoull (words[i], NULL, 0);
}

static VixError
open_disk (VixDiskLibHandle *handle)
{
  return CALL (VixDiskLib_Open) (connection, words[1], (uint32) number (2), handle);
}

static VixError
close_disk (VixDiskLibHandle *handle)
{
  VixDiskLibHandle h = *handle;

  *handle = NULL;
  return CALL (VixDiskLib_Close) (h);
}

static VixError
write_sectors (void)
{
  unsigned char *buffer = malloc (number (2) * 512);
  VixError r;

  memset (buffer, (int) number (3), number (2) * 512);
  r = CALL (VixDiskLib_Write) (handles[0], number (1), number (2), buffer);
  free (buffer);
  return r;
}

static VixError
create (void)
{
  const VixDiskLibCreateParams p = { (VixDiskLibDiskType) number (2), VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, 13, number (3), 0, 0 };

  return CALL (VixDiskLib_Create) (connection, words[1], &p, NULL, NULL);
}

static VixError
clone_disk (void)
{
  const VixDiskLibCreateParams p = { (VixDiskLibDiskType) number (3), VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, 13, 0, 0, 0 };

  return CALL (VixDiskLib_Clone) (connection, words[1], connection, words[2], &p, NULL, NULL, (Bool) number (4));
}

static VixError
attach (void)
{
  VixError r = CALL (VixDiskLib_Attach) (handles[1], handles[0]);

  handles[1] = NULL;
  return r;
}

static VixError
execute (void)
{
#define IS(name) (strcmp (words[0], name) == 0)
  return IS ("open")       ? open_disk (&handles[0])
       : IS ("parent")     ? open_disk (&handles[1])
       : IS ("close")      ? close_disk (&handles[0])
       : IS ("write")      ? write_sectors ()
       : IS ("flush")      ? CALL (VixDiskLib_Flush) (handles[0])
       : IS ("metadata")   ? CALL (VixDiskLib_WriteMetadata) (handles[0], words[1], words[2])
       : IS ("shrink")     ? CALL (VixDiskLib_Shrink) (handles[0], NULL, NULL)
       : IS ("defragment") ? CALL (VixDiskLib_Defragment) (handles[0], NULL, NULL)
       : IS ("child")  ? CALL (VixDiskLib_CreateChild) (handles[0], words[1], (VixDiskLibDiskType) number (2), NULL, NULL)
       : IS ("attach") ? attach ()
       : IS ("create") ? create ()
       : IS ("clone")  ? clone_disk ()
       : IS ("grow")   ? CALL (VixDiskLib_Grow) (connection, words[1], number (2), TRUE, NULL, NULL)
       : IS ("rename") ? CALL (VixDiskLib_Rename) (words[1], words[2])
       : IS ("unlink") ? CALL (VixDiskLib_Unlink) (connection, words[1])
       : IS ("check")  ? CALL (VixDiskLib_CheckRepair) (connection, words[1], (Bool) number (2))
                       : VIX_E_INVALID_ARG;
}

static void
split (char *command)
{
  char *rest = command;

  for (int i = 0; i < 5; ++i)
    words[i] = (rest = strsep (&command, " ")) ? rest : (char *) "0";
}

/* The commands one after the other; what is open when one failed is closed. */
static void
run (int n, char **commands)
{
  for (int i = 0; i < n; ++i) {
    VixError r;

    split (commands[i]);
    r = execute ();
    if (r != VIX_OK) {
      printf ("error %llu\n", (unsigned long long) r);
      break;
    }
    shim_acknowledge ((uint64_t) i + 1);
    printf ("%d\n", i + 1);
  }
  for (int k = 0; k < 2; ++k)
    if (handles[k])
      close_disk (&handles[k]);
}

static void
warn (const char *fmt, va_list args)
{
  vfprintf (stderr, fmt, args);
}

int
main (int argc, char **argv)
{
  library = argc > 4 ? dlopen (argv[1], RTLD_NOW) : NULL;
  if (library == NULL || CALL (VixDiskLib_InitEx) (8, 0, NULL, warn, NULL, NULL, getenv ("CRASH_SETTINGS")) != VIX_OK
      || CALL (VixDiskLib_Connect) (NULL, &connection) != VIX_OK)
    return 2;
  setvbuf (stdout, NULL, _IONBF, 0);
  if (strcmp (argv[2], "log") == 0)
    shim_log (argv[3]);
  else
    shim_arm (strtoull (argv[3], NULL, 10), strcmp (argv[2], "tear") == 0   ? FATE_TEAR
                                            : strcmp (argv[2], "fail") == 0 ? FATE_FAIL
                                                                            : FATE_DIE);
  run (argc - 4, argv + 4);
  if (shim_met ())
    puts ("met");
  return 0;
}
