/* Shrinks or defragments a disk and records every change that the library makes to its files, and when.
 *
 * Usage: compaction_recorder LIBRARY CONFIGURATION DISK LOG CALL
 *
 * CALL is VixDiskLib_Shrink or VixDiskLib_Defragment.  The log is a sequence of records: one letter, three 64-bit numbers
 * (inode, offset, length), then the bytes of a write.  W: bytes written; S: file synced; T: file cut, or made longer, to
 * offset.  The library's calls reach the functions below because the executable's symbols come first. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vixDiskLib.h"

static FILE *journal;

static void
record (char kind, int fd, uint64_t offset, uint64_t length)
{
  struct stat st;
  uint64_t numbers[3] = { fstat (fd, &st) == 0 ? st.st_ino : 0, offset, length };

  fputc (kind, journal);
  fwrite (numbers, sizeof numbers, 1, journal);
}

ssize_t
pwritev (int fd, const struct iovec *iov, int n, off_t offset)
{
  ssize_t done = syscall (SYS_pwritev, fd, iov, n, (long) offset, 0L);
  size_t left = done > 0 ? (size_t) done : 0;

  if (left > 0)
    record ('W', fd, (uint64_t) offset, left);
  for (int i = 0; i < n && left > 0; ++i) {
    size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

    fwrite (iov[i].iov_base, part, 1, journal);
    left -= part;
  }
  return done;
}

int
fdatasync (int fd)
{
  int r = (int) syscall (SYS_fdatasync, fd);

  if (r == 0)
    record ('S', fd, 0, 0);
  return r;
}

int
ftruncate (int fd, off_t size)
{
  int r = (int) syscall (SYS_ftruncate, fd, (long) size);

  if (r == 0)
    record ('T', fd, (uint64_t) size, 0);
  return r;
}

int
main (int argc, char **argv)
{
  void *library = argc == 6 ? dlopen (argv[1], RTLD_NOW) : NULL;
  VixError (*call) (VixDiskLibHandle, VixDiskLibProgressFunc, void *) = NULL;
  VixDiskLibConnection connection;
  VixDiskLibHandle handle;
  VixError r;

  if (library == NULL)
    return 2;
  journal = fopen (argv[4], "w");
  *(void **) &call = dlsym (library, argv[5]);
#define CALL(name, ...)                                                                                                \
  if ((r = ((__typeof__ (&name)) dlsym (library, #name)) (__VA_ARGS__)) != VIX_OK)                                     \
  return fprintf (stderr, "%s: %lu\n", #name, (unsigned long) r), 1
  CALL (VixDiskLib_InitEx, 8, 0, NULL, NULL, NULL, NULL, argv[2]);
  CALL (VixDiskLib_Connect, NULL, &connection);
  CALL (VixDiskLib_Open, connection, argv[3], 0, &handle);
  r = call (handle, NULL, NULL);
  if (r != VIX_OK)
    return fprintf (stderr, "%s: %lu\n", argv[5], (unsigned long) r), 1;
  CALL (VixDiskLib_Close, handle);
  return fclose (journal) == 0 ? 0 : 3;
}
