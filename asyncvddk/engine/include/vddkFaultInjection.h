/* Failures that a client switches on by number, to test its own error paths.
 *
 * Names and numbers are those of VDDK 7.0, where only builds for tests obey them; these are the ones that have a place in
 * this engine, and behind each stands which function it lets fail.  openEngine.fail in the configuration file counts calls
 * and knows every function, this interface needs no file.  Written from the facts of the interface; the words are our own.
 */
#ifndef VDDK_FAULT_INJECTION_H
#define VDDK_FAULT_INJECTION_H

#include "vixDiskLib.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

enum diskLibFaultInjection {
  VDDK_VIXDISKLIB_INIT_DISKLIB_FAILED = 10, /* Init, InitEx */
  VDDK_VIXDISKLIB_VIXDISKLIB_INIT_DISKLIB_FAILED = 14, /* Init, InitEx */
  VDDK_VIXDISKLIB_VIXDISKLIB_INIT_SSL_FAILED = 15, /* Init, InitEx */
  VDDK_VIXDISKLIB_VIXDISKLIB_DISKLIB_CLONE_FAILED = 16, /* Clone between local disks */
  VDDK_VIXDISKLIB_VIXDISKLIB_CREATECHILD_GETINFO_FAILED = 17, /* CreateChild */
  VDDK_VIXDISKLIB_VIXDISKLIB_CREATECHILD_FAILED = 18, /* CreateChild */
  VDDK_VIXDISKLIB_VIXDISKLIB_GETINFO_FAILED = 19, /* GetInfo */
  VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_VMXSPEC = 20, /* Connect, ConnectEx: by vmxSpec */
  VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_FCD = 21, /* Connect, ConnectEx: to a first-class disk */
  VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_RDS = 22, /* Connect, ConnectEx: to a datastore */
  VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_SERVER = 23, /* Connect, ConnectEx: to a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_CONN = 24, /* Connect, ConnectEx */
  VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_CRED_UID = 25, /* Connect, ConnectEx: with user and password */
  VDDK_VIXDISKLIB_VIXDISKLIB_CONNECT_NO_MEMORY_CRED_SESSIONID = 26, /* Connect, ConnectEx: with a session's cookie */
  VDDK_VIXDISKLIB_VIXDISKLIB_OPENWITHINFO_FAIL = 29, /* Open */
  VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_NO_SPACE = 31, /* Clone to a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_START_SESSION_FAIL = 32, /* Clone to a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_FAIL = 33, /* Clone to a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_OPEN_FAIL = 34, /* Clone to a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_PUTFILE_FILEEXIST = 37, /* Clone to a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_GETFILE_STARTSESSION_FAIL = 38, /* Clone from a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_CLONELOCAL_OPEN_FAIL = 40, /* Clone between local disks */
  VDDK_VIXDISKLIB_VIXDISKLIB_SPACENEEDEDFORCLONE_FAIL = 41, /* SpaceNeededForClone */
  VDDK_VIXDISKLIB_VIXDISKLIB_ATTACH_FAIL = 42, /* Attach */
  VDDK_VIXDISKLIB_VIXDISKLIB_WAIT_FAIL = 43, /* Wait, after it has waited */
  VDDK_VIXDISKLIB_VIXDISKLIB_NOAVAILABLEMODES = 44, /* Open on a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_ADDTHUMB_INVPARAM = 45, /* Open on a server, with a thumbprint */
  VDDK_VIXDISKLIB_VIXDISKLIB_ADDTHUMB_INVTHUMB = 46, /* Open on a server, with a thumbprint */
  VDDK_VIXDISKLIB_VIXDISKLIB_ADDTHUMB_ADDTHUMB_FAIL = 49, /* Open on a server, with a thumbprint */
  VDDK_VIXDISKLIB_VIXDISKLIB_OPEN_PLUGIN_FAIL = 50, /* Open on a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_INIT_TRANSPORT_FAIL = 51, /* Open on a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_READMETADATA_FAIL = 54, /* ReadMetadata */
  VDDK_VIXDISKLIB_VIXDISKLIB_CREATESESSION_FAIL_AGENT = 55, /* Open on a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_CREATESESSION_FAIL_STATUS = 56, /* Open on a server */
  VDDK_VIXDISKLIB_VIXDISKLIB_UNLINK_FILENOTEXIST = 57, /* Unlink */
  VDDK_VIXDISKLIB_ALCBLOCK_OPEN_GETINFO_FAILED = 58, /* QueryAllocatedBlocks */
  VDDK_VIXDISKLIB_ALCBLOCK_QUERY_NBDGETALC_FAILED = 59, /* QueryAllocatedBlocks over nbd or nbdssl */
  VDDK_VIXDISKLIB_ALCBLOCK_QUERY_ALLOC_FAILED = 60, /* QueryAllocatedBlocks */
  VDDK_VIXDISKLIB_ALCBLOCK_CLOSE_NBDCLOSE_FAILED = 61, /* Close over nbd or nbdssl, which closes all the same */
  VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_DISKSPEC = 79, /* Open on a server, over nbd or nbdssl */
  VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_TICKET = 80, /* Open on a server, over nbd or nbdssl */
  VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_SERVICE = 81, /* Open on a server, over nbd or nbdssl */
  VDDK_VIMACCESS_SESSION_GETNFCTICKET_FAIL_NO_SESSIONID = 82, /* Open on a server, over nbd or nbdssl */
  VDDK_VIMACCESS_SESSION_GETFILENAME_FAIL_NO_DISKSPEC = 83, /* Open on a server */
  VDDK_VIMACCESS_SESSION_GETFILENAME_FAIL_NO_FILENAME = 84, /* Open on a server */
  VDDK_FAULT_INJECTION_LAST_ENTRY = 87,
};

typedef Bool (*IsFaultEnabled_T) (int id, int *faultErr);

/* Asked at each of the places above: true and *faultErr, not zero, lets the call fail.  A client may put a function of its
 * own here while no call of the library runs; NULL: no failures. */
extern IsFaultEnabled_T VixDiskLib_IsFaultEnabled;

/* From now on until it is disabled each call that passes the place fails with faultErr; also before the first Init and
 * behind the last Exit.  False: no such place in this engine, or faultErr is not positive (it does not matter when the
 * fault is disabled).  Any thread. */
Bool VixDiskLib_SetInjectedFault (int id, Bool enabled, int faultErr);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
