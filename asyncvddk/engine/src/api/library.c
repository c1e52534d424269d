/* Exported: life of the library, transport modes, clean-up, error texts. */
#include "api/api.h"

#include <limits.h>

#include "base/config.h"
#include "base/log.h"
#include "calls/async.h"
#include "calls/pace.h"
#include "calls/threads.h"
#include "remote/datastores.h"
#include "remote/transport.h"

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER; /* Init and Exit run one at a time */
static atomic_uint init_count;                                /* changed under init_lock */
static atomic_uint oldest_client; /* the lowest version that some Init asked for, major * 1000 + minor */

bool
library_initialised (void)
{
  return atomic_load (&init_count) > 0;
}

bool
library_clients_know_sector_sizes (void)
{
  return atomic_load (&oldest_client) >= 7000;
}

bool
library_clients_know_specs (void)
{
  return atomic_load (&oldest_client) >= 6007;
}

/* The words before the second parenthesis are those that clients look for to learn the version: 8.0.1 brought the
 * specification of a datastore's folder, which we take. */
static void
log_start (const char *libDir, const char *configFile)
{
  engine_log ("VMware VixDiskLib (%d.0.1) Release build-0 (asyncvddk open engine %s)", ENGINE_MAJOR, ENGINE_VERSION);
  engine_log ("Library directory: %s", libDir != NULL ? libDir : "(none)");
  engine_log ("Configuration file: %s", configFile != NULL ? configFile : "(none)");
}

/* What a client gave to Init. */
struct client {
  uint32 major, minor;
  VixDiskLibGenericLogFunc *log, *warn, *panic;
};

/* The caller holds init_lock. */
static void
start (const struct client *client, const char *libDir, const char *configFile)
{
  log_set_callbacks (client->log, client->warn, client->panic);
  log_start (libDir, configFile);
  config_load (configFile);
  log_open_file ();
  fault_load ();
  datastores_load ();
  pace_load ();
  threads_load ();
  async_load ();
  engine_log ("Using transport modes: %s", server_transport_modes ());
  atomic_store (&oldest_client, UINT_MAX);
}

static void
note_version (const struct client *client)
{
  const unsigned minor = client->minor < 1000 ? client->minor : 999, asked = client->major * 1000 + minor;

  if (asked < atomic_load (&oldest_client))
    atomic_store (&oldest_client, asked);
}

/* VIX_E_NOT_SUPPORTED: the client needs a newer generation.  panic is for openEngine.checkThreads, nothing else ends the
 * process.  Callbacks and configuration are those of the first Init until the last Exit.  Locks init_lock. */
static VixError
init (const struct client *client, const char *libDir, const char *configFile)
{
  SCOPED_LOCK (&init_lock);
  VixError r = inject (VDDK_VIXDISKLIB_INIT_DISKLIB_FAILED, VDDK_VIXDISKLIB_VIXDISKLIB_INIT_DISKLIB_FAILED,
                       VDDK_VIXDISKLIB_VIXDISKLIB_INIT_SSL_FAILED);

  if (r != VIX_OK)
    return r;
  if (client->major > ENGINE_MAJOR)
    return VIX_E_NOT_SUPPORTED;
  if (!library_initialised ())
    start (client, libDir, configFile);
  else
    engine_log ("VixDiskLib_Init: initialised already, log callbacks and configuration stay those of the first call");
  note_version (client);
  atomic_fetch_add (&init_count, 1);
  return VIX_OK;
}

VixError
VixDiskLib_InitEx (uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                   VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir,
                   const char *configFile)
{
  const struct client client = { majorVersion, minorVersion, log, warn, panic };

  API_ENTER ();
  return init (&client, libDir, configFile);
}

VixError
VixDiskLib_Init (uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                 VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir)
{
  const struct client client = { majorVersion, minorVersion, log, warn, panic };

  API_ENTER ();
  return init (&client, libDir, NULL);
}

/* What clients left open is closed, so that its data is not lost.  The caller holds init_lock. */
static void
stop (void)
{
  objects_close_all ();
  async_stop ();
  access_forget_all ();
  threads_forget ();
  fault_forget ();
  datastores_free ();
  log_close_file ();
  log_set_callbacks (NULL, NULL, NULL);
  config_free ();
}

void
VixDiskLib_Exit (void)
{
  fault_check (__func__); /* can hang only */
  SCOPED_LOCK (&init_lock);
  unsigned count = atomic_load (&init_count);

  if (count == 0)
    return;
  engine_log ("VixDiskLib_Exit: Unmatched Init calls so far: %u.", count);
  atomic_store (&init_count, count - 1);
  if (count == 1)
    stop ();
}

const char *
VixDiskLib_ListTransportModes (void)
{
  return library_initialised () ? server_transport_modes () : TRANSPORT_FILE;
}

static VixError
cleanup_log_in (const VixDiskLibConnectParams *params)
{
  VixDiskLibConnectParams copy;
  VixError r;

  if (!library_initialised ())
    return VIX_E_DISK_NOINIT;
  if (params_are_local (params))
    return VIX_OK;
  r = params_copy (&copy, params, false, PARAMS_OF_HOST);
  if (r != VIX_OK)
    return r;
  r = server_log_in (&copy);
  params_wipe (&copy);
  return r;
}

/* Nothing is ever left behind: no disk is attached to another machine, no redo log made, and nothing outside of the disks'
 * own folders; what a writer that died left inside of them is for CheckRepair.  So both numbers are 0.  The parameters are
 * judged as those of a connection: VIX_E_DISK_NOINIT, those of params_copy and server_log_in. */
VixError
VixDiskLib_Cleanup (const VixDiskLibConnectParams *connectParams, uint32 *numCleanedUp, uint32 *numRemaining)
{
  VixError r;

  API_ENTER_SERIAL ();
  r = cleanup_log_in (connectParams);
  if (r != VIX_OK)
    return r;
  if (numCleanedUp != NULL)
    *numCleanedUp = 0;
  if (numRemaining != NULL)
    *numRemaining = 0;
  return VIX_OK;
}
