/* Runs writes and flushes on a disk and records every change that the library makes to a file, and when.
 *
 * Usage: crash_recorder LIBRARY DISK LOG SEED ROUNDS
 *
 * The log is a sequence of records: one letter, three 64-bit numbers (inode, offset, length), then length bytes.
 * W: bytes written; S: file synced; F: flush number offset has returned; C: round number offset is about to be written.
 * The library's calls reach the functions below because the executable's symbols come first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vixDiskLib.h"

#define EVERY_FLUSH 5

static FILE *journal;

static void
record (char kind, uint64_t inode, uint64_t offset, uint64_t length)
{
  uint64_t numbers[3] = { inode, offset, length };

  fputc (kind, journal);
  fwrite (numbers, sizeof numbers, 1, journal);
}

static uint64_t
inode_of (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 ? st.st_ino : 0;
}

ssize_t
pwritev (int fd, const struct iovec *iov, int n, off_t offset)
{
  ssize_t done = syscall (SYS_pwritev, fd, iov, n, (long)offset, 0L);
  size_t left = done > 0 ? (size_t)done : 0;

  if (left == 0)
    return done;
  record ('W', inode_of (fd), (uint64_t)offset, left);
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
  int r = (int)syscall (SYS_fdatasync, fd);

  if (r == 0)
    record ('S', inode_of (fd), 0, 0);
  return r;
}

static void
check (VixError error, const char *what)
{
  if (error != VIX_OK) {
    fprintf (stderr, "%s: %lu\n", what, (unsigned long)error);
    exit (1);
  }
}

/* The part of the sectors that a round writes: any place, one sector to a few grains. */
static void
choose (uint64 capacity, uint64 *start, uint64 *count)
{
  *count = rand () % 3 == 0 ? (uint64)(rand () % 400 + 1) : (uint64)(rand () % 8 + 1);
  *start = (uint64)rand () % (capacity - *count);
}

int
main (int argc, char **argv)
{
  void *library = argc == 6 ? dlopen (argv[1], RTLD_NOW) : NULL;
  VixDiskLibConnection connection;
  VixDiskLibHandle handle;
  VixDiskLibInfo *info;
  unsigned char *buffer = malloc (400 * 512);

  if (library == NULL)
    return 2;
  journal = fopen (argv[3], "w");
  srand ((unsigned)atoi (argv[4]));
#define CALL(name, ...) check (((__typeof__ (&name))dlsym (library, #name)) (__VA_ARGS__), #name)
  CALL (VixDiskLib_InitEx, 8, 0, NULL, NULL, NULL, NULL, NULL);
  CALL (VixDiskLib_Connect, NULL, &connection);
  CALL (VixDiskLib_Open, connection, argv[2], 0, &handle);
  CALL (VixDiskLib_GetInfo, handle, &info);
  for (int round = 1; round <= atoi (argv[5]); ++round) {
    uint64 start, count;

    choose (info->capacity, &start, &count);
    memset (buffer, round, count * 512);
    record ('C', start, (uint64)round, 8);
    fwrite (&count, 8, 1, journal);
    CALL (VixDiskLib_Write, handle, start, count, buffer);
    if (round % EVERY_FLUSH == 0) {
      CALL (VixDiskLib_Flush, handle);
      record ('F', 0, (uint64)round, 0);
    }
  }
  CALL (VixDiskLib_Close, handle);
  record ('F', 0, (uint64)atoi (argv[5]), 0);
  return fclose (journal) == 0 ? 0 : 3;
}
