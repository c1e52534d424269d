/* Writers exclude each other by a lock of the kernel on the open files of a disk's own link ("open file description"
 * locks): two handles of one process conflict as two processes do, the kernel drops the lock of a process that died,
 * NFS carries it to the server, nothing is left on disk and a folder need not be writable for it.  A lock file or
 * folder beside the disk would have to guess whether its maker is still alive.  QEMU guards its images with the same
 * kind of lock, so it does not open what we are writing to, nor we what it has open.
 *
 * The lock is on the extents: they keep their inodes, while a text descriptor is replaced by a new file at each change.
 * Readers take no lock. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "disk/lock.h"
#include "base/log.h"

static VixError
lock_file (const struct file *f, short type)
{
  struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

  if (fcntl (f->fd, F_OFD_SETLK, &lock) == 0)
    return VIX_OK;
  if (errno == EAGAIN || errno == EACCES)
    return report (VIX_E_FILE_ALREADY_LOCKED,
                   "%s: is open elsewhere, by another writer or by QEMU; close it there first", f->path);
  engine_warn ("%s: this file system cannot lock (%m); another writer would go unnoticed", f->path);
  return VIX_OK;
}

VixError
lock_for_writing (const struct file *f)
{
  return lock_file (f, F_WRLCK);
}

VixError
lock_against_writers (const struct file *f)
{
  return lock_file (f, F_RDLCK);
}
