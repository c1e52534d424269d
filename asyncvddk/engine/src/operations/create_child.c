/* A new link on top of a disk.  It is empty: all of its content is the parent's until it is written to. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "disk/disk_private.h"
#include "operations/create.h"
#include "operations/operations.h"

/* What tools that look at a single link want to know of the machine's view of the disk.  The rest is found in the
 * parents, the uuid first of all: the guest sees the same disk as before. */
static const char *const repeated_keys[] = {
  "adapterType",
  "geometry.cylinders",
  "geometry.heads",
  "geometry.sectors",
  "geometry.biosCylinders",
  "geometry.biosHeads",
  "geometry.biosSectors",
  "logicalSectorSize",
  "physicalSectorSize",
  "virtualHWVersion",
};

/* Those of them that the parent has, malloc'ed; NULL when out of memory. */
static char *
repeated_lines (struct disk *parent)
{
  char *lines = NULL;
  size_t len;
  FILE *f = open_memstream (&lines, &len);
  bool failed = false;

  if (!f)
    return NULL;
  for (size_t i = 0; i < sizeof repeated_keys / sizeof *repeated_keys; ++i) {
    CLEANUP_FREE char *value = disk_ddb_get (parent, repeated_keys[i]);
    CLEANUP_FREE char *text = value ? descriptor_escape (value) : NULL;

    failed |= value && !text;
    if (text)
      fprintf (f, "ddb.%s = \"%s\"\n", repeated_keys[i], text);
  }
  if (fclose (f) == 0 && !failed)
    return lines;
  free (lines);
  return NULL;
}

/* The parent as seen from the child: a path from the child's folder if it lies there or below, so that the folder can
 * be moved; else an absolute one.  Symbolic links are followed before, on both sides: the extents of a split parent
 * lie beside the file itself, not beside a link to it.  *hint is malloc'ed. */
static VixError
hint_of (const struct link *parent, const char *child_path, char **hint)
{
  CLEANUP_FREE char *dir = NULL;
  CLEANUP_FREE char *name = NULL;
  CLEANUP_FREE char *real = NULL;
  const char *beneath;
  VixError r = VIX_OK;
  int fd = open_directory_of (child_path, &dir, &name, &r);

  if (fd == -1)
    return r;
  close (fd);
  real = realpath (dir, NULL);
  if (!real)
    return report_errno (errno, dir, "find the folder");
  beneath = path_beneath (&(struct folder){ .path = real }, parent->path);
  *hint = descriptor_escape (beneath ? beneath : parent->path);
  return *hint ? VIX_OK : report_no_memory ();
}

static VixError
check_parent (const struct disk *parent, const char *path, VixDiskLibDiskType type)
{
  if (type != VIXDISKLIB_DISK_MONOLITHIC_SPARSE && type != VIXDISKLIB_DISK_SPLIT_SPARSE)
    return report (VIX_E_NOT_SUPPORTED, "%s: a child is of type 1 (monolithic sparse) or 3 (split sparse), not %d",
                   path, (int) type);
  if (parent->partial)
    return report (VIX_E_DISK_PARTIALCHAIN, "%s: was opened without all of its parents; open the whole chain for %s",
                   parent->top->path, path);
  if (parent->links >= CHAIN_MAX_LINKS)
    return report (VIX_E_DISK_TOOMANYREDO, "%s: has %d links, as many as a chain may have; clone it into a new disk",
                   parent->top->path, parent->links);
  return link_check_parent_type (parent->top, path);
}

VixError
disk_create_child (struct disk *parent, const char *path, VixDiskLibDiskType type, struct progress *progress)
{
  const VixDiskLibCreateParams params = {
    .diskType = type,
    .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, /* not used: the parent's is repeated */
    .capacity = link_sectors (parent->top),
  };
  struct parentage parentage = { 0 };
  struct creation c = { .params = &params, .parent = &parentage, .progress = progress };
  VixError r = hint_of (parent->top, path, &parentage.hint);

  disk_exclusive_begin (parent);
  if (r == VIX_OK)
    r = check_parent (parent, path, type);
  if (r == VIX_OK)
    r = disk_settle (parent, &parentage.cid);
  if (r == VIX_OK) {
    parentage.ddb = repeated_lines (parent);
    r = parentage.ddb ? VIX_OK : report_no_memory ();
  }
  disk_exclusive_end (parent);
  if (r == VIX_OK)
    r = create_link (path, &c);
  free (parentage.hint);
  free (parentage.ddb);
  return r;
}
