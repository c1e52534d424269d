/* The datastores and first-class disks of the imitated server, as openEngine.datastore and openEngine.fcd map them. */
#ifndef ENGINE_DATASTORES_H
#define ENGINE_DATASTORES_H

#include <stdbool.h>

#include "base/beneath.h"

/* Reads the configuration; a folder that does not exist is reported and left out.  Called by the first InitEx. */
void datastores_load (void);

/* Called by the last Exit, when no disk is open any more. */
void datastores_free (void);

/* Something is mapped: servers can be connected to. */
bool datastores_exist (void);

/* Where disks on the server lie with all their parents. */
const struct folders *datastores_folders (void);

/* Path of the file behind "[datastore] dir/x.vmdk", malloc'ed and free of symbolic links.  exists: else only its folder
 * must exist, for a disk that is going to be made.
 *
 * VIX_E_FILE_NOT_FOUND: no such file, or no datastore path; VIX_E_FILE_ACCESS_ERROR: no such datastore, or the path leads
 * out of its folder; VIX_E_FILE_NAME_INVALID: a path with "..". */
VixError datastores_resolve (const char *path, bool exists, char **local);

/* The same for a first-class disk, or its snapshot.  VIX_E_OBJECT_NOT_FOUND: not mapped. */
VixError datastores_resolve_object (const char *id, const char *snapshot, char **local);

/* True for "[name] path", however wrong the rest is. */
bool is_datastore_path (const char *path);

#endif
