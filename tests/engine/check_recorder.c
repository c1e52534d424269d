/* Repairs a disk and records every change that the library makes to its file.
 *
 * Usage: check_recorder LIBRARY DISK LOG
 *
 * The log is as that of crash_recorder: W: bytes written; S: file synced; T: the file got offset bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vixDiskLib.h"

static FILE *journal;

static void
record (char kind, uint64_t offset, uint64_t length)
{
  uint64_t numbers[3] = { 0, offset, length };

  fputc (kind, journal);
  fwrite (numbers, sizeof numbers, 1, journal);
}

ssize_t
pwritev (int fd, const struct iovec *iov, int n, off_t offset)
{
  ssize_t done = syscall (SYS_pwritev, fd, iov, n, (long)offset, 0L);

  for (ssize_t left = done; left > 0; ++iov) {
    ssize_t part = (ssize_t)iov->iov_len < left ? (ssize_t)iov->iov_len : left;

    record ('W', (uint64_t)(offset + done - left), (uint64_t)part);
    fwrite (iov->iov_base, (size_t)part, 1, journal);
    left -= part;
  }
  return done;
}

int
fdatasync (int fd)
{
  int r = (int)syscall (SYS_fdatasync, fd);

  if (r == 0)
    record ('S', 0, 0);
  return r;
}

int
ftruncate (int fd, off_t size)
{
  record ('T', (uint64_t)size, 0);
  return (int)syscall (SYS_ftruncate, fd, size);
}

int
main (int argc, char **argv)
{
  void *library = argc == 4 ? dlopen (argv[1], RTLD_NOW) : NULL;
  VixDiskLibConnection connection;
  VixError r;

  if (library == NULL)
    return 2;
  journal = fopen (argv[3], "w");
#define CALL(name, ...) ((__typeof__ (&name))dlsym (library, #name)) (__VA_ARGS__)
  r = CALL (VixDiskLib_InitEx, 8, 0, NULL, NULL, NULL, NULL, NULL);
  if (r == VIX_OK)
    r = CALL (VixDiskLib_Connect, NULL, &connection);
  if (r == VIX_OK)
    r = CALL (VixDiskLib_CheckRepair, connection, argv[2], TRUE);
  if (fclose (journal) != 0)
    return 3;
  return r == VIX_OK ? 0 : 1;
}
