/* The configuration file of VixDiskLib_InitEx: lines  name = value  or  name = "value", comments from # on, names in any
 * letter case.  What is wrong in it is logged and never an error.
 *
 * Our own keys.  The first group imitates a server; each is free to choose, a server without any of them takes whoever
 * asks:
 *
 *   openEngine.datastore.<name> = /folder   "[<name>] vm/vm.vmdk" is /folder/vm/vm.vmdk; the name as the client writes it,
 *                                           blanks and letter case included.  Nothing outside of the folder is opened,
 *                                           parents of a disk only in one of the mapped folders; a parent noted as
 *                                           /vmfs/volumes/<name>/... is looked for in the datastore of that name (map
 *                                           the volume's id as a second name where disks note that)
 *   openEngine.fcd.<id> = [<name>] dir/x.vmdk     the first-class disk with this id; also an absolute path
 *   openEngine.fcd.<id>.<snapshot id> = ...       the same for one of its snapshots
 *   openEngine.server = vc.example, 10.1.2.3      names that lead to the server; others: Open fails with 18000
 *   openEngine.thumbPrint = AA:BB:...             of its certificate, colons or not; others or none: Open fails with 1
 *   openEngine.user, openEngine.password          what VIXDISKLIB_CRED_UID must bring, else Open fails with 1
 *   openEngine.cookie                             what VIXDISKLIB_CRED_SESSIONID must bring, else Open fails with 1
 *   openEngine.vm = vm-16, vm-17                  virtual machines (what stands behind moref=, or the path of the .vmx
 *                                                 file); others: Open fails with 4000
 *   openEngine.snapshot = snapshot-12             snapshots of these; others: Open fails with 13
 *
 * The second group makes the library slow, wrong or strict, for tests of its clients:
 *
 *   openEngine.latencyMs = 20               wait before each read and write
 *   openEngine.bandwidth = 104857600        bytes per second of each open disk, 0: no limit
 *   openEngine.fail = Read:3:7,Open:0:13    the 3rd VixDiskLib_Read fails with 7, every Open with 13; see fault.c
 *   openEngine.hang = Read:2:/tmp/fifo      the 2nd Read waits until a writer has opened and closed the FIFO; see fault.c
 *   openEngine.checkThreads = abort         a client that breaks VDDK's rules for threads is ended with a message (warn:
 *                                           the message only; off); see calls/threads.h
 *   openEngine.async = off                  asynchronous calls complete before they return, as with HotAdd
 *   openEngine.threads = 16                 most threads for asynchronous calls, 1 to 256
 *   openEngine.queryTail = on               a query may end behind the disk, in its last chunk
 *   openEngine.grainTableCacheBytes = 8388608   memory for the tables of each open disk
 *   openEngine.compactStepBytes = 33554432  what Shrink and Defragment move before they sync
 *
 * openEngine.parentRoots = /a:/b:.  keeps the parents of local disks in or below these folders, "." being that of the child;
 * without it they may lie anywhere.  Whoever opens disks of others should set it: see disk/parent.c.
 *
 * Of VDDK's keys these are obeyed, all others accepted:
 *
 *   tmpDirectory                            a client without a log callback finds its log there, as vixDiskLib-<pid>.log
 *   log.fileName                            log file besides the callbacks; a relative name is inside tmpDirectory
 *   log.fileLevel                           for that file: 0 nothing, 1 and 2 warnings, 3 and more all
 *   vixDiskLib.transport.LogLevel           0 to 2: no messages about disks opened on a server
 *   vixDiskLib.nfcAio.Session.BufSizeIn64KB, ...BufCount   more than 16 MiB together: disks on a server fail to open (3) */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include <stdbool.h>

#include "vixDiskLib.h"

/* Reads the file; what cannot be read or understood is logged and left out, never an error.  NULL: no file, defaults only.
 * Called by the first InitEx, before any other thread is in the library. */
void config_load (const char *path);

/* Forgets everything, secrets overwritten.  Called by the last Exit. */
void config_free (void);

/* Value of a key, NULL if the file does not set it; belongs to the configuration.  Letter case of keys does not matter. */
const char *config_get (const char *key);

/* The same as a number in [min, max] or a switch (on, off, yes, no, true, false, 1, 0); fallback if absent or wrong. */
uint64 config_number (const char *key, uint64 fallback, uint64 min, uint64 max);
bool config_switch (const char *key, bool fallback);

/* True if item is one of the comma-separated words of the key's value, and if the file does not set the key. */
bool config_lists (const char *key, const char *item);

/* Calls f with the rest of each key that begins with prefix, as written, and its value; a later line of the same key in
 * the file is told before earlier ones. */
void config_each (const char *prefix, void (*f) (void *opaque, const char *rest, const char *value), void *opaque);

/* keys.c: what the library says about a key and its value, NULL: nothing.  wrong: the value, not the key. */
const char *config_complaint (const char *key, const char *value, bool *wrong);

#endif
