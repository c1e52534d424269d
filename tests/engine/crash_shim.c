/* Stands between the library and the kernel: counts the calls that change files or folders, dies at one of them, lets
 * one fail, or writes them down.  The library's calls reach these functions because the executable's symbols come first.
 *
 * A record of the log: one letter, four 64-bit numbers a, b, c and length, then length bytes.
 *   O file a was made, named by the data        W bytes were written to file a at b by call c
 *   T file a has b bytes                        Z file a has c zero bytes at b
 *   S file a was synced                         D the folder named by the data was synced
 *   R renamed, E exchanged, L linked (from, NUL, to)
 *   U name deleted        M folder made        X folder deleted
 *   K command a has returned */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crash_shim.h"

static FILE *journal;
static uint64_t chosen, count;
static enum fate fate;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long (*real_syscall) (long, ...);

__attribute__ ((constructor)) static void
find_syscall (void)
{
  real_syscall = (long (*) (long, ...)) dlsym (RTLD_NEXT, "syscall");
}

void
shim_arm (uint64_t n, enum fate f)
{
  chosen = n;
  fate = f;
}

int
shim_met (void)
{
  return chosen != 0 && count >= chosen;
}

void
shim_log (const char *path)
{
  journal = fopen (path, "we");
}

static void
die (void)
{
  real_syscall (SYS_kill, getpid (), SIGKILL);
}

/* Before a change: 0 if it fails, with errno set. */
static int
enter (void)
{
  pthread_mutex_lock (&lock);
  if (++count != chosen || fate == FATE_TEAR)
    return 1;
  if (fate == FATE_DIE)
    die ();
  pthread_mutex_unlock (&lock);
  errno = EIO;
  return 0;
}

static void
leave (void)
{
  const int e = errno;

  if (journal)
    fflush (journal);
  if (count == chosen)
    die ();
  errno = e;
  pthread_mutex_unlock (&lock);
}

static void
record (char kind, uint64_t a, uint64_t b, uint64_t c, const void *data, uint64_t length)
{
  const uint64_t numbers[] = { a, b, c, length };

  if (!journal)
    return;
  fputc (kind, journal);
  fwrite (numbers, sizeof numbers, 1, journal);
  if (data)
    fwrite (data, length, 1, journal);
}

void
shim_acknowledge (uint64_t n)
{
  record ('K', n, 0, 0, NULL, 0);
}

static uint64_t
inode (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 ? st.st_ino : 0;
}

/* Regular files count; pipes and terminals do not. */
static int
counts (int fd)
{
  struct stat st;

  return (journal || chosen) && fstat (fd, &st) == 0 && S_ISREG (st.st_mode);
}

/* Absolute path of a name. */
static const char *
path_of (int dirfd, const char *name, char path[PATH_MAX])
{
  char link[64], dir[PATH_MAX / 2] = "";

  if (name[0] == '/') {
    snprintf (path, PATH_MAX, "%s", name);
    return path;
  }
  snprintf (link, sizeof link, dirfd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dirfd);
  if (readlink (link, dir, sizeof dir - 1) == -1)
    abort ();
  snprintf (path, PATH_MAX, "%s/%s", dir, name);
  return path;
}

static void
record_names (char kind, int from_dir, const char *from, int to_dir, const char *to)
{
  char path[PATH_MAX], both[2 * PATH_MAX];
  size_t length = strlen (path_of (from_dir, from, path));

  memcpy (both, path, length + 1);
  if (to) {
    strcpy (both + length + 1, path_of (to_dir, to, path));
    length += 1 + strlen (path);
  }
  record (kind, 0, 0, 0, both, length);
}

/* Bytes that were written: n vectors, done bytes in all. */
static void
record_write (int fd, uint64_t offset, const struct iovec *iov, int n, size_t done)
{
  record ('W', inode (fd), offset, count, NULL, done);
  for (int i = 0; journal && i < n && done > 0; ++i) {
    const size_t part = iov[i].iov_len < done ? iov[i].iov_len : done;

    fwrite (iov[i].iov_base, part, 1, journal);
    done -= part;
  }
}

/* A torn write ends at a page, as one that a signal interrupts does, or at a sector. */
static void
tear_write (int fd, const struct iovec *iov, int n, off_t offset)
{
  size_t total = 0, keep;

  for (int i = 0; i < n; ++i)
    total += iov[i].iov_len;
  keep = total > 8192 ? total / 2 / 4096 * 4096 : total / 2 / 512 * 512;
  for (int i = 0; i < n && keep > 0; ++i) {
    const size_t part = iov[i].iov_len < keep ? iov[i].iov_len : keep;

    real_syscall (SYS_pwrite64, fd, iov[i].iov_base, part, (long) offset);
    offset += (off_t) part;
    keep -= part;
  }
  die ();
}

ssize_t
pwritev (int fd, const struct iovec *iov, int n, off_t offset)
{
  ssize_t done;

  if (!counts (fd))
    return real_syscall (SYS_pwritev, fd, iov, n, (long) offset, 0L);
  if (!enter ())
    return -1;
  if (count == chosen)
    tear_write (fd, iov, n, offset);
  done = real_syscall (SYS_pwritev, fd, iov, n, (long) offset, 0L);
  if (done > 0)
    record_write (fd, (uint64_t) offset, iov, n, (size_t) done);
  leave ();
  return done;
}

ssize_t
pwrite (int fd, const void *buf, size_t length, off_t offset)
{
  const struct iovec iov = { (void *) buf, length };

  return pwritev (fd, &iov, 1, offset);
}

ssize_t
writev (int fd, const struct iovec *iov, int n)
{
  const off_t offset = counts (fd) ? lseek (fd, 0, SEEK_CUR) : -1;
  ssize_t done;

  if (offset == -1)
    return real_syscall (SYS_writev, fd, iov, n);
  done = pwritev (fd, iov, n, offset);
  if (done > 0)
    lseek (fd, done, SEEK_CUR);
  return done;
}

ssize_t
write (int fd, const void *buf, size_t length)
{
  const struct iovec iov = { (void *) buf, length };

  return writev (fd, &iov, 1);
}

int
ftruncate (int fd, off_t length)
{
  int r;

  if (!counts (fd))
    return (int) real_syscall (SYS_ftruncate, fd, (long) length);
  if (!enter ())
    return -1;
  r = (int) real_syscall (SYS_ftruncate, fd, (long) length);
  if (r == 0)
    record ('T', inode (fd), (uint64_t) length, 0, NULL, 0);
  leave ();
  return r;
}

int
fallocate (int fd, int mode, off_t offset, off_t length)
{
  struct stat st;
  int r;

  if (!counts (fd))
    return (int) real_syscall (SYS_fallocate, fd, (long) mode, (long) offset, (long) length);
  if (!enter ())
    return -1;
  r = (int) real_syscall (SYS_fallocate, fd, (long) mode, (long) offset, (long) length);
  if (r == 0 && (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
    record ('Z', inode (fd), (uint64_t) offset, (uint64_t) length, NULL, 0);
  if (r == 0 && fstat (fd, &st) == 0)
    record ('T', inode (fd), (uint64_t) st.st_size, 0, NULL, 0);
  leave ();
  return r;
}

int
posix_fallocate (int fd, off_t offset, off_t length)
{
  return fallocate (fd, 0, offset, length) == 0 ? 0 : errno;
}

ssize_t
copy_file_range (int in, off_t *in_offset, int out, off_t *out_offset, size_t length, unsigned flags)
{
  (void) in, (void) in_offset, (void) out, (void) out_offset, (void) length, (void) flags;
  errno = EXDEV; /* the caller copies by itself */
  return -1;
}

static int
sync_file (long call, int fd)
{
  struct stat st;
  int r = 0;

  if (fstat (fd, &st) == -1)
    return (int) real_syscall (call, fd);
  if (!enter ())
    return -1;
  if (!journal && !chosen)
    r = (int) real_syscall (call, fd);
  if (r == 0 && S_ISDIR (st.st_mode))
    record_names ('D', fd, ".", 0, NULL);
  else if (r == 0)
    record ('S', st.st_ino, 0, 0, NULL, 0);
  leave ();
  return r;
}

int
fdatasync (int fd)
{
  return sync_file (SYS_fdatasync, fd);
}

int
fsync (int fd)
{
  return sync_file (SYS_fsync, fd);
}

static int
open_file (int dirfd, const char *name, int flags, mode_t mode)
{
  struct stat st;
  int fd, fresh;

  if (!(flags & (O_CREAT | O_TRUNC)) || !(journal || chosen))
    return (int) real_syscall (SYS_openat, dirfd, name, flags, mode);
  if (!enter ())
    return -1;
  fresh = fstatat (dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1;
  fd = (int) real_syscall (SYS_openat, dirfd, name, flags, mode);
  if (fd != -1 && fresh) {
    char path[PATH_MAX];

    path_of (dirfd, name, path);
    record ('O', inode (fd), 0, 0, path, strlen (path));
  }
  else if (fd != -1 && (flags & O_TRUNC))
    record ('T', inode (fd), 0, 0, NULL, 0);
  leave ();
  return fd;
}

int
openat (int dirfd, const char *name, int flags, ...)
{
  va_list args;
  mode_t mode;

  va_start (args, flags);
  mode = va_arg (args, mode_t);
  va_end (args);
  return open_file (dirfd, name, flags, mode);
}

int
open (const char *name, int flags, ...)
{
  va_list args;
  mode_t mode;

  va_start (args, flags);
  mode = va_arg (args, mode_t);
  va_end (args);
  return open_file (AT_FDCWD, name, flags, mode);
}

/* A call with one name (to NULL) or two. */
static int
change_names (char kind, long call, int from_dir, const char *from, int to_dir, const char *to, long flags)
{
  int r;

  if (!enter ())
    return -1;
  r = (int) (to ? real_syscall (call, from_dir, from, to_dir, to, flags) : real_syscall (call, from_dir, from, flags));
  if (r == 0)
    record_names (kind, from_dir, from, to_dir, to);
  leave ();
  return r;
}

int
renameat2 (int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
  return change_names (flags & RENAME_EXCHANGE ? 'E' : 'R', SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int
renameat (int from_dir, const char *from, int to_dir, const char *to)
{
  return renameat2 (from_dir, from, to_dir, to, 0);
}

int
rename (const char *from, const char *to)
{
  return renameat2 (AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
linkat (int from_dir, const char *from, int to_dir, const char *to, int flags)
{
  return change_names ('L', SYS_linkat, from_dir, from, to_dir, to, flags);
}

int
link (const char *from, const char *to)
{
  return linkat (AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
unlinkat (int dirfd, const char *name, int flags)
{
  return change_names (flags & AT_REMOVEDIR ? 'X' : 'U', SYS_unlinkat, dirfd, name, 0, NULL, flags);
}

int
unlink (const char *name)
{
  return unlinkat (AT_FDCWD, name, 0);
}

int
rmdir (const char *name)
{
  return unlinkat (AT_FDCWD, name, AT_REMOVEDIR);
}

int
mkdirat (int dirfd, const char *name, mode_t mode)
{
  return change_names ('M', SYS_mkdirat, dirfd, name, 0, NULL, mode);
}

int
mkdir (const char *name, mode_t mode)
{
  return mkdirat (AT_FDCWD, name, mode);
}

/* Calls that the C library had no function for. */
long
syscall (long number, ...)
{
  va_list args;
  long a[6];

  va_start (args, number);
  for (int i = 0; i < 6; ++i)
    a[i] = va_arg (args, long);
  va_end (args);
  if (number == SYS_renameat2)
    return renameat2 ((int) a[0], (const char *) a[1], (int) a[2], (const char *) a[3], (unsigned) a[4]);
  return real_syscall (number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
