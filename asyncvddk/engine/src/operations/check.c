/* Checking and repairing. */
#include "disk/lock.h"
#include "formats/sparse/stream.h"
#include "operations/operations.h"

VixError
disk_check (const char *path, bool repair)
{
  CLEANUP_FILE struct file *f = NULL;
  VixError r = file_open (path, repair, &f);

  if (r == VIX_OK && repair)
    r = lock_for_writing (f);
  return r == VIX_OK ? stream_check (f, repair) : r;
}
