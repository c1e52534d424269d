#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"

/* How often a call that makes no progress is repeated before it counts as failed. */
#define IO_RETRIES 8

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8
#endif

/* Lifts the soft limit of open files to the hard one.  True if that made room. */
static bool
raise_file_limit (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur >= limit.rlim_max)
    return false;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit (RLIMIT_NOFILE, &limit) == 0;
}

/* openat that survives a low soft limit of open files: a split disk of 2 TiB has more than a thousand extents. */
static int
open_fd (int dirfd, const char *name, int flags, mode_t mode)
{
  int fd = openat (dirfd, name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);

  if (fd == -1 && errno == EMFILE && raise_file_limit ())
    fd = openat (dirfd, name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
  return fd;
}

void
file_close (struct file *f)
{
  if (f) {
    if (f->fd != -1)
      close (f->fd);
    free (f->path);
    free (f);
  }
}

/* Wraps fd, which is closed on failure; takes path. */
static VixError
file_new (int fd, char *path, bool writable, struct file **out)
{
  CLEANUP_FILE struct file *f = calloc (1, sizeof *f);
  struct stat st;

  if (!f || !path) {
    close (fd);
    free (path);
    return report_no_memory ();
  }
  f->fd = fd;
  f->path = path;
  f->writable = writable;
  if (fstat (fd, &st) == -1)
    return report_errno (errno, path, "stat");
  if (S_ISDIR (st.st_mode))
    return report (VIX_E_NOT_A_FILE, "%s: is a directory, expected the .vmdk file of a disk", path);
  if (!S_ISREG (st.st_mode))
    return report (VIX_E_NOT_A_FILE, "%s: is no regular file; devices and pipes are not opened", path);
  f->dev = st.st_dev;
  f->ino = st.st_ino;
  f->size = (uint64_t) st.st_size;
  *out = f;
  f = NULL;
  return VIX_OK;
}

static char *
join_path (const char *dir, const char *name)
{
  char *path;

  return asprintf (&path, "%s%s%s", dir, strcmp (dir, "/") == 0 ? "" : "/", name) == -1 ? NULL : path;
}

VixError
file_open (const char *path, bool writable, struct file **out)
{
  int fd = open_fd (AT_FDCWD, path, writable ? O_RDWR : O_RDONLY, 0);

  *out = NULL;
  if (fd == -1 && errno == EISDIR)
    return report (VIX_E_NOT_A_FILE, "%s: is a directory, expected the .vmdk file of a disk", path);
  if (fd == -1)
    return report_errno (errno, path, writable ? "open for writing" : "open");
  return file_new (fd, strdup (path), writable, out);
}

VixError
check_plain_name (const char *where, const char *name)
{
  if (name[0] == '\0' || strchr (name, '/') || strchr (name, '\\') || strcmp (name, ".") == 0
      || strcmp (name, "..") == 0)
    return report (VIX_E_DISK_INVALIDDISK,
                   "%s: extent file \"%s\" is not a plain name; extents must lie in the folder of their descriptor",
                   where, name);
  if (strlen (name) > NAME_MAX)
    return report (VIX_E_FILE_NAME_TOO_LONG, "%s: extent file name of %zu bytes, at most %d are possible", where,
                   strlen (name), NAME_MAX);
  return VIX_OK;
}

VixError
file_open_at (int dirfd, const char *dir, const char *name, bool writable, struct file **out)
{
  char *path = join_path (dir, name);
  int fd = open_fd (dirfd, name, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW, 0);
  int err = errno;

  *out = NULL;
  if (fd != -1)
    return file_new (fd, path, writable, out);
  CLEANUP_FREE char *owned = path;
  if (!path)
    return report_no_memory ();
  if (err == ELOOP)
    return report (VIX_E_DISK_INVALIDDISK,
                   "%s: is a symbolic link; extents must be files in the folder of their descriptor", path);
  return report_errno (err, path, writable ? "open for writing" : "open");
}

VixError
file_create_at (int dirfd, const char *dir, const char *name, mode_t mode, struct file **out)
{
  char *path = join_path (dir, name);
  int fd = open_fd (dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  int err = errno;

  *out = NULL;
  if (fd != -1)
    return file_new (fd, path, true, out);
  CLEANUP_FREE char *owned = path;
  return path ? report_errno (err, path, "create") : report_no_memory ();
}

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2u
#endif

int
file_rename_new (int from_dirfd, const char *from, int to_dirfd, const char *to)
{
  if (syscall (SYS_renameat2, from_dirfd, from, to_dirfd, to, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return errno;
  if (linkat (from_dirfd, from, to_dirfd, to, 0) == -1)
    return errno;
  unlinkat (from_dirfd, from, 0);
  return 0;
}

int
file_exchange (int dirfd, const char *a, const char *b)
{
  return syscall (SYS_renameat2, dirfd, a, dirfd, b, RENAME_EXCHANGE) == 0 ? 0 : errno;
}

int
open_directory_of (const char *path, char **dir, char **name, VixError *error)
{
  CLEANUP_FREE char *for_dir = strdup (path);
  CLEANUP_FREE char *for_name = strdup (path);
  int fd;

  *dir = for_dir ? strdup (dirname (for_dir)) : NULL;
  *name = for_name ? strdup (basename (for_name)) : NULL;
  if (!*dir || !*name) {
    *error = report_no_memory ();
    return -1;
  }
  fd = open_fd (AT_FDCWD, *dir, O_RDONLY | O_DIRECTORY, 0);
  if (fd == -1)
    *error = report_errno (errno, *dir, "open the folder");
  return fd;
}

VixError
file_read (const struct file *f, void *buf, size_t len, uint64_t offset)
{
  struct iovec iov = { buf, len };

  return file_readv (f, &iov, 1, offset, false);
}

VixError
file_write (const struct file *f, const void *buf, size_t len, uint64_t offset)
{
  struct iovec iov = { (void *) buf, len };

  return file_writev (f, &iov, 1, offset);
}

/* Drops the first done bytes and empty vectors. */
static void
advance (struct iovec **iov, int *n, size_t done)
{
  while (*n > 0 && done >= (*iov)->iov_len) {
    done -= (*iov)->iov_len;
    ++*iov;
    --*n;
  }
  if (*n > 0) {
    (*iov)->iov_base = (char *) (*iov)->iov_base + done;
    (*iov)->iov_len -= done;
  }
}

/* preadv2 as the kernel has it: not every C library does. */
static ssize_t
preadv_nowait (int fd, const struct iovec *iov, int n, uint64_t offset)
{
  return syscall (SYS_preadv2, fd, iov, n, (unsigned long) offset, 0ul, RWF_NOWAIT);
}

VixError
file_readv (const struct file *f, struct iovec *iov, int n, uint64_t offset, bool nowait)
{
  advance (&iov, &n, 0);
  while (n > 0) {
    ssize_t r = nowait ? preadv_nowait (f->fd, iov, n, offset) : preadv (f->fd, iov, n, (off_t) offset);

    if (r == -1 && errno == EINTR)
      continue;
    if (r == -1 && nowait)
      return DISK_WOULD_BLOCK;
    if (r == -1)
      return report_errno (errno, f->path, "read");
    if (r == 0)
      return report (VIX_E_HOST_FILE_ERROR_EOF,
                     "%s: ends at or before byte %llu, where data of the disk should be; the file is truncated",
                     f->path, (unsigned long long) offset);
    offset += (uint64_t) r;
    advance (&iov, &n, (size_t) r);
  }
  return VIX_OK;
}

VixError
file_writev (const struct file *f, struct iovec *iov, int n, uint64_t offset)
{
  int stuck = 0;

  advance (&iov, &n, 0);
  while (n > 0) {
    ssize_t r = pwritev (f->fd, iov, n, (off_t) offset);

    if (r == -1 && errno == EINTR)
      continue;
    if (r == 0 && ++stuck < IO_RETRIES)
      continue;
    if (r <= 0)
      return report_errno (r == 0 ? EIO : errno, f->path, "write");
    offset += (uint64_t) r;
    advance (&iov, &n, (size_t) r);
  }
  return VIX_OK;
}

VixError
file_sync (const struct file *f)
{
  return fdatasync (f->fd) == -1 ? report_errno (errno, f->path, "write to stable storage") : VIX_OK;
}

VixError
directory_sync (int dirfd, const char *dir)
{
  return fsync (dirfd) == -1 && errno != EINVAL ? report_errno (errno, dir, "write the folder to stable storage")
                                                : VIX_OK;
}

uint64_t
file_seek_data (const struct file *f, uint64_t offset, uint64_t end)
{
  off_t data = lseek (f->fd, (off_t) offset, SEEK_DATA);

  if (data == -1)
    return errno == ENXIO ? end : offset;
  return (uint64_t) data < end ? (uint64_t) data : end;
}

uint64_t
file_seek_hole (const struct file *f, uint64_t offset, uint64_t end)
{
  off_t hole = lseek (f->fd, (off_t) offset, SEEK_HOLE);

  return hole != -1 && (uint64_t) hole > offset && (uint64_t) hole < end ? (uint64_t) hole : end;
}

void
file_next_data (const struct file *f, uint64_t offset, uint64_t end, uint64_t *start, uint64_t *stop)
{
  *start = file_seek_data (f, offset, end);
  *stop = *start == end ? end : file_seek_hole (f, *start, end);
}
