/* Work on the bytes of a buffer that is better not done on the event loop's thread: finding zeros, writing files. */
#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "core.h"

static bool
all_zero (const unsigned char *p, size_t n)
{
  /* A buffer equal to itself shifted by one is all one byte: memcmp runs at memory speed and stops at a difference. */
  return n == 0 || (p[0] == 0 && (n == 1 || memcmp (p, p + 1, n - 1) == 0));
}

/* Length of the run of granules from offset that are all zero (zero) or all not (!zero), clipped to length. */
static size_t
run_length (const unsigned char *p, size_t offset, size_t length, size_t granule, bool zero)
{
  size_t end = offset, n;

  while (end < length) {
    n = granule < length - end ? granule : length - end;
    if (all_zero (p + end, n) != zero)
      break;
    end += n;
  }
  return end - offset;
}

/* Write (offset, length) in bytes of each run of granules that hold something else than zeros to runs, at most max
 * pairs, ascending. The last run covers the rest when the pairs run out. Returns the number of pairs.
 */
CORE_API uint64_t
core_nonzero_runs (const unsigned char *p, size_t length, size_t granule, uint64_t *runs, uint64_t max)
{
  size_t offset = 0, n;
  uint64_t found = 0;

  while (offset < length && found < max) {
    offset += run_length (p, offset, length, granule, true);
    n = found + 1 == max ? length - offset : run_length (p, offset, length, granule, false);
    if (n == 0)
      break;
    runs[2 * found] = offset;
    runs[2 * found + 1] = n;
    found++;
    offset += n;
  }
  return found;
}

/* Returns 0 or a negative errno. */
static int64_t
write_fully (int fd, const unsigned char *p, size_t length, off_t offset)
{
  ssize_t n;

  while (length > 0) {
    n = pwrite (fd, p, length, offset);
    if (n == -1 && errno != EINTR)
      return -errno;
    if (n == 0)
      return -EIO;
    if (n == -1)
      continue;
    p += n;
    offset += n;
    length -= (size_t) n;
  }
  return 0;
}

/* Write the granules of p that are not all zero to their places in a file in which all else already reads as zeros.
 * Returns the number of bytes written or a negative errno.
 */
CORE_API int64_t
core_write_sparse (int fd, const unsigned char *p, size_t length, uint64_t file_offset, size_t granule)
{
  size_t offset = 0, n;
  int64_t written = 0, error;

  while (offset < length) {
    offset += run_length (p, offset, length, granule, true);
    n = run_length (p, offset, length, granule, false);
    error = write_fully (fd, p + offset, n, (off_t) (file_offset + offset));
    if (error)
      return error;
    written += (int64_t) n;
    offset += n;
  }
  return written;
}

/* fdatasync for a worker's thread. Returns 0 or a negative errno. */
CORE_API int64_t
core_sync (int fd)
{
  return fdatasync (fd) == -1 ? -errno : 0;
}
