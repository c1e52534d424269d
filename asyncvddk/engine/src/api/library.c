/* Exported: life of the library, transport modes, clean-up, error texts. */
#include "api/api.h"

#include "calls/async.h"
#include "base/config.h"
#include "base/log.h"

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER; /* Init and Exit run one at a time */
static atomic_uint init_count;                                /* changed under init_lock */
static atomic_bool old_client;                                /* some Init asked for less than 7 */

bool
library_initialised (void)
{
  return atomic_load (&init_count) > 0;
}

bool
library_clients_know_sector_sizes (void)
{
  return !atomic_load (&old_client);
}

/* The words before the parenthesis are those that clients look for to learn the version. */
static void
log_start (const char *libDir, const char *configFile)
{
  engine_log ("VMware VixDiskLib (%d.0.0) Release build-0 (asyncvddk open engine %s)", ENGINE_MAJOR, ENGINE_VERSION);
  engine_log ("Library directory: %s", libDir != NULL ? libDir : "(none)");
  engine_log ("Configuration file: %s", configFile != NULL ? configFile : "(none)");
  engine_log ("Using transport modes: %s", ENGINE_TRANSPORT);
}

/* The caller holds init_lock. */
static void
start (VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn, const char *libDir, const char *configFile)
{
  log_set_callbacks (log, warn);
  log_start (libDir, configFile);
  config_load (configFile);
  fault_load ();
  async_load ();
  atomic_store (&old_client, false);
}

/* VIX_E_NOT_SUPPORTED: the client needs a newer generation.  The engine never ends the process, so it never calls panic.
 * Callbacks and configuration are those of the first Init until the last Exit.  Locks init_lock. */
static VixError
init (uint32 majorVersion, VixDiskLibGenericLogFunc *log, VixDiskLibGenericLogFunc *warn, const char *libDir,
      const char *configFile)
{
  SCOPED_LOCK (&init_lock);

  if (majorVersion > ENGINE_MAJOR)
    return VIX_E_NOT_SUPPORTED;
  if (!library_initialised ())
    start (log, warn, libDir, configFile);
  else
    engine_log ("VixDiskLib_Init: initialised already, log callbacks and configuration stay those of the first call");
  if (majorVersion < 7)
    atomic_store (&old_client, true);
  atomic_fetch_add (&init_count, 1);
  return VIX_OK;
}

VixError
VixDiskLib_InitEx (uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                   VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir,
                   const char *configFile)
{
  (void) minorVersion;
  (void) panic;
  API_ENTER ();
  return init (majorVersion, log, warn, libDir, configFile);
}

VixError
VixDiskLib_Init (uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                 VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir)
{
  (void) minorVersion;
  (void) panic;
  API_ENTER ();
  return init (majorVersion, log, warn, libDir, NULL);
}

/* What clients left open is closed, so that its data is not lost.  The caller holds init_lock. */
static void
stop (void)
{
  objects_close_all ();
  async_stop ();
  access_forget_all ();
  atomic_store (&fault_armed, false);
  log_set_callbacks (NULL, NULL);
  config_free ();
}

void
VixDiskLib_Exit (void)
{
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
  return ENGINE_TRANSPORT;
}

/* Nothing is ever left behind outside of the disks' own folders. */
VixError
VixDiskLib_Cleanup (const VixDiskLibConnectParams *connectParams, uint32 *numCleanedUp, uint32 *numRemaining)
{
  (void) connectParams;
  API_ENTER ();
  if (numCleanedUp != NULL)
    *numCleanedUp = 0;
  if (numRemaining != NULL)
    *numRemaining = 0;
  return VIX_OK;
}
