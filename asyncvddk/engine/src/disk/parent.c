/* Parents: found by the hint that stands in the child, opened, and compared with what the child says of them. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/config.h"
#include "base/log.h"
#include "disk/link.h"

/* The hint on a Windows machine: C:\disks\base.vmdk, \\server\disks\base.vmdk. */
static bool
is_windows_root (const char *hint)
{
  return hint[0] == '\\' || (hint[0] != '\0' && hint[1] == ':');
}

static char *
in_folder_of (const struct link *child, const char *path)
{
  char *joined;

  return asprintf (&joined, "%s/%s", child->dir, path) == -1 ? NULL : joined;
}

/* The hint with the separators of this system, from the child's folder; NULL: that makes no sense, or no memory. */
static char *
without_backslashes (const struct link *child, const char *hint)
{
  char *path = is_windows_root (hint) || !strchr (hint, '\\') ? NULL : in_folder_of (child, hint);

  for (char *p = path ? path + strlen (child->dir) : NULL; p && *p; ++p)
    if (*p == '\\')
      *p = '/';
  return path;
}

/* The last part of the hint, in the child's folder. */
static char *
beside (const struct link *child, const char *hint)
{
  const char *name = hint + strlen (hint);

  while (name > hint && name[-1] != '/' && name[-1] != '\\')
    --name;
  return *name ? in_folder_of (child, name) : NULL;
}

/* True if there is something other than the child itself. */
static bool
is_other_file (const struct link *child, const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && (st.st_dev != child->dev || st.st_ino != child->ino);
}

/* Where the hint leads, malloc'ed; never a URL.  An absolute path is taken as it is, any other from the child's folder,
 * as VMware does.  A chain that came from another machine, or was moved, often lies in one folder while the hints tell
 * the old places: if there is nothing at the old place, a file of that name beside the child is taken.  That is no
 * guess: its content id must be the one that the child knows. */
static char *
find_parent (const struct link *child)
{
  const char *hint = child->descriptor->parent_hint;
  char *path = hint[0] != '/'  ? in_folder_of (child, hint)
               : child->inside ? path_from_host (child->inside, hint)
                               : strdup (hint);
  struct stat st;

  if (!path || stat (path, &st) == 0)
    return path;
  for (int i = 0; i < 2; ++i) {
    char *other = i == 0 ? without_backslashes (child, hint) : beside (child, hint);

    if (other && is_other_file (child, other)) {
      engine_log ("%s: its parent is not at %s; %s is taken", child->path, path, other);
      free (path);
      return other;
    }
    free (other);
  }
  return path;
}

/* One entry of openEngine.parentRoots. */
static bool
root_allows (const struct link *child, const char *root, const char *path)
{
  CLEANUP_FREE char *real = NULL;

  if (strcmp (root, ".") == 0)
    return path_beneath (&(struct folder){ .path = child->dir }, path) != NULL;
  real = root[0] == '/' ? realpath (root, NULL) : NULL;
  if (!real && *root)
    engine_warn ("openEngine.parentRoots: \"%s\" is no folder with an absolute path; ignored", root);
  return real && path_beneath (&(struct folder){ .path = real }, path) != NULL;
}

/* path is free of symbolic links.  Whoever makes a disk chooses the hint in it: a service that opens disks of others
 * sets openEngine.parentRoots, so that none of them shows a file from elsewhere.  "." stands for the folder of the
 * child.  Without the setting parents may lie anywhere, as with other software: clones whose parent is in another
 * folder are common, and CreateChild itself makes such. */
static VixError
check_roots (const struct link *child, const char *path)
{
  const char *setting = config_get ("openEngine.parentRoots");
  CLEANUP_FREE char *roots = setting ? strdup (setting) : NULL;
  char *rest = roots, *root;

  if (!setting)
    return VIX_OK;
  if (!roots)
    return report_no_memory ();
  while ((root = strsep (&rest, ":")))
    if (root_allows (child, root, path))
      return VIX_OK;
  return report (VIX_E_DISK_OPENPARENT,
                 "%s: its parent %s lies in none of the folders of openEngine.parentRoots (%s); add its folder there, "
                 "or open both with VIXDISKLIB_FLAG_OPEN_SINGLE_LINK and attach",
                 child->path, path, setting);
}

static VixError
check_hint (const struct link *l)
{
  const char *hint = l->descriptor->parent_hint;

  if (link_is_child (l) && (!hint || !*hint))
    return report (VIX_E_DISK_INVALIDCHAIN,
                   "%s: has parentCID %08x but no parentFileNameHint; its parent cannot be found", l->path,
                   l->descriptor->parent_cid);
  if (!link_is_child (l) && hint && *hint)
    return report (VIX_E_DISK_INVALIDCHAIN, "%s: names the parent \"%s\" but has parentCID ffffffff (no parent)",
                   l->path, hint);
  return VIX_OK;
}

VixError
link_compare_parent (const struct link *child, const struct link *parent)
{
  if (parent->descriptor->cid != child->descriptor->parent_cid)
    return report (VIX_E_DISK_CID_MISMATCH,
                   "%s: has CID %08x, but its child %s was made when it was %08x; the parent was changed since",
                   parent->path, parent->descriptor->cid, child->path, child->descriptor->parent_cid);
  if (link_sectors (parent) != link_sectors (child))
    return report (VIX_E_DISK_CAPACITY_MISMATCH, "%s: has %llu sectors, its child %s has %llu", parent->path,
                   (unsigned long long) link_sectors (parent), child->path, (unsigned long long) link_sectors (child));
  return VIX_OK;
}

VixError
link_check_parent_type (const struct link *parent, const char *child)
{
  for (size_t i = 0; i < parent->descriptor->n_extents; ++i) {
    const enum extent_type type = parent->descriptor->extents[i].type;

    if (type == EXTENT_VMFSSPARSE || type == EXTENT_SESPARSE)
      return report (VIX_E_DISK_PARENT_NOTALLOWED,
                     "%s: is a link of ESX's own type %s, on which %s cannot be put; clone it into a new disk",
                     parent->path, parent->descriptor->create_type, child);
  }
  return VIX_OK;
}

static VixError
check_loop (const struct link *top, const struct link *parent)
{
  for (const struct link *l = top; l != parent; l = l->parent)
    if (l->dev == parent->dev && l->ino == parent->ino)
      return report (VIX_E_DISK_INVALIDCHAIN, "%s: is its own ancestor; the chain is a loop", parent->path);
  return VIX_OK;
}

/* link_open, inside the folders of the child's datastores, or else the configured ones. */
static VixError
open_found (struct link *child, const char *path)
{
  CLEANUP_FREE char *real = realpath (path, NULL);
  VixError r = real && !child->inside ? check_roots (child, real) : VIX_OK;

  return r == VIX_OK ? link_open_inside (child->inside, real ? real : path, false, &child->parent) : r;
}

static VixError
open_parent (const struct link *top, struct link *child)
{
  CLEANUP_FREE char *path = find_parent (child);
  VixError r = path ? open_found (child, path) : report_no_memory ();

  if (r == VIX_E_OUT_OF_MEMORY || r == VIX_E_DISK_OPENPARENT)
    return r;
  if (r != VIX_OK)
    return report (VIX_E_DISK_OPENPARENT, "%s: its parent %s cannot be opened", child->path, path);
  r = link_compare_parent (child, child->parent);
  return r == VIX_OK ? check_loop (top, child->parent) : r;
}

VixError
chain_open_parents (struct link *l, int *links)
{
  struct link *child = l;
  VixError r = check_hint (l);

  for (*links = 1; r == VIX_OK && link_is_child (child); ++*links) {
    if (*links == CHAIN_MAX_LINKS)
      return report (VIX_E_DISK_TOOMANYREDO, "%s: its chain has more than %d links", l->path, CHAIN_MAX_LINKS);
    r = open_parent (l, child);
    child = child->parent;
    if (r == VIX_OK)
      r = check_hint (child);
  }
  return r;
}
