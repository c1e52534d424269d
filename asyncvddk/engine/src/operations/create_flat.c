/* Space for a flat extent. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "operations/create.h"

#define RESERVE_STEP (1ull << 30) /* bytes */
#define ZERO_STEP (1ull << 20)

/* Zeros, for file systems that cannot reserve. */
static VixError
write_zeros (const struct file *f, uint64_t offset, uint64_t len)
{
  CLEANUP_FREE char *zeros = calloc (1, ZERO_STEP);
  VixError r = zeros ? VIX_OK : report_no_memory ();

  for (uint64_t done = 0; r == VIX_OK && done < len; done += ZERO_STEP)
    r = file_write (f, zeros, len - done < ZERO_STEP ? len - done : ZERO_STEP, offset + done);
  return r;
}

static VixError
reserve_step (const struct file *f, uint64_t offset, uint64_t len)
{
  int r;

  do
    r = fallocate (f->fd, 0, (off_t) offset, (off_t) len);
  while (r == -1 && errno == EINTR);
  if (r == 0)
    return VIX_OK;
  if (errno == EOPNOTSUPP || errno == ENOSYS)
    return write_zeros (f, offset, len);
  return report_errno (errno, f->path, "reserve space");
}

VixError
reserve_flat (const struct file *f, uint64_t from, uint64_t to, struct progress *p, uint64_t done, uint64_t total)
{
  VixError r = VIX_OK;

  for (uint64_t offset = from; r == VIX_OK && offset < to; offset += RESERVE_STEP) {
    uint64_t len = to - offset < RESERVE_STEP ? to - offset : RESERVE_STEP;

    r = reserve_step (f, offset, len);
    if (r == VIX_OK)
      r = progress_tell (p, progress_share (done + (offset - from + len) / SECTOR_SIZE, total));
  }
  return r;
}

VixError
create_flat_extent (struct creation *c, const struct file *f, uint64_t sectors, bool thin, uint64_t done)
{
  const uint64_t bytes = sectors * SECTOR_SIZE;
  VixError r = VIX_OK;

  if (ftruncate (f->fd, (off_t) bytes) == -1)
    return report_errno (errno, f->path, "set the size");
  if (!thin)
    r = reserve_flat (f, 0, bytes, c->progress, done, c->total);
  return r == VIX_OK ? file_sync (f) : r;
}
