/* Exported: PrepareForAccess and EndAccess, and which of them is still open. */
#include "api/api.h"

#include <string.h>

#include "base/log.h"

#define MAX_IDENTITY 50 /* characters; the interface's limit */

struct access_mark {
  struct access_mark *next;
  char *machine, *identity;
};

static pthread_mutex_t access_lock = PTHREAD_MUTEX_INITIALIZER;
static struct access_mark *marks; /* guarded by access_lock */

static void
free_mark (struct access_mark *mark)
{
  free (mark->machine);
  free (mark->identity);
  free (mark);
}

void
access_forget_all (void)
{
  SCOPED_LOCK (&access_lock);

  while (marks != NULL) {
    struct access_mark *mark = marks;

    engine_warn ("VixDiskLib_EndAccess was never called for %s by %s", mark->machine, mark->identity);
    marks = mark->next;
    free_mark (mark);
  }
}

/* Where the mark hangs in the list, or the list's end.  The caller holds access_lock. */
static struct access_mark **
find (const char *machine, const char *identity)
{
  struct access_mark **link = &marks;

  while (*link != NULL && (strcmp ((*link)->machine, machine) != 0 || strcmp ((*link)->identity, identity) != 0))
    link = &(*link)->next;
  return link;
}

/* VIX_E_INVALID_ARG: no identity, or one too long.  Characters are counted, not bytes. */
static VixError
check_identity (const char *identity)
{
  size_t characters = 0;

  if (identity == NULL || identity[0] == '\0')
    return VIX_E_INVALID_ARG;
  for (; *identity != '\0'; identity++)
    characters += ((unsigned char) *identity & 0xC0) != 0x80;
  return characters > MAX_IDENTITY ? VIX_E_INVALID_ARG : VIX_OK;
}

static const char *
machine_of (const VixDiskLibConnectParams *params)
{
  return params->vmxSpec != NULL ? params->vmxSpec : "";
}

/* VIX_E_OPERATION_DISABLED: prepared already; VIX_E_OUT_OF_MEMORY.  Locks access_lock. */
static VixError
prepare (const char *machine, const char *identity)
{
  SCOPED_LOCK (&access_lock);
  struct access_mark *mark;

  if (*find (machine, identity) != NULL)
    return VIX_E_OPERATION_DISABLED;
  mark = calloc (1, sizeof *mark);
  if (mark == NULL)
    return VIX_E_OUT_OF_MEMORY;
  mark->machine = strdup (machine);
  mark->identity = strdup (identity);
  if (mark->machine == NULL || mark->identity == NULL) {
    free_mark (mark);
    return VIX_E_OUT_OF_MEMORY;
  }
  mark->next = marks;
  marks = mark;
  return VIX_OK;
}

/* Clients call this also after a Prepare that failed: nothing to end is no error.  Locks access_lock. */
static void
end (const char *machine, const char *identity)
{
  SCOPED_LOCK (&access_lock);
  struct access_mark **link = find (machine, identity), *mark = *link;

  if (mark == NULL)
    return;
  *link = mark->next;
  free_mark (mark);
}

/* A local disk cannot be relocated: nothing to prepare, whatever the identity. */
VixError
VixDiskLib_PrepareForAccess (const VixDiskLibConnectParams *connectParams, const char *identity)
{
  VixError err;

  API_ENTER ();
  if (!library_initialised ())
    return VIX_E_DISK_NOINIT;
  if (params_are_local (connectParams))
    return VIX_OK;
  err = check_identity (identity);
  return err != VIX_OK ? err : prepare (machine_of (connectParams), identity);
}

VixError
VixDiskLib_EndAccess (const VixDiskLibConnectParams *connectParams, const char *identity)
{
  VixError err;

  API_ENTER ();
  if (!library_initialised ())
    return VIX_E_DISK_NOINIT;
  if (params_are_local (connectParams))
    return VIX_OK;
  err = check_identity (identity);
  if (err == VIX_OK)
    end (machine_of (connectParams), identity);
  return err;
}
