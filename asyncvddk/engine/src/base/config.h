/* The configuration file of VixDiskLib_InitEx. */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include <stdbool.h>

#include "vixDiskLib.h"

/* Reads the file; what cannot be read or understood is logged and left out, never an error.  NULL: no file, defaults only.
 * Called by the first InitEx, before any other thread is in the library. */
void config_load (const char *path);

/* Forgets everything.  Called by the last Exit. */
void config_free (void);

/* Value of a key, NULL if the file does not set it; belongs to the configuration.  Letter case of keys does not matter. */
const char *config_get (const char *key);

/* The same as a number in [min, max] or a switch (on, off, yes, no, true, false, 1, 0); fallback if absent or wrong. */
uint64 config_number (const char *key, uint64 fallback, uint64 min, uint64 max);
bool config_switch (const char *key, bool fallback);

#endif
