/* Preloaded: counts the calls that change files, and lets the n-th one fail, or the process die instead of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long calls, chosen;
static int chosen_errno; /* 0: die */

/* The n-th call from now on fails with err; 0: the process dies.  n 0: only count. */
void
interrupt_arm (long n, int err)
{
  calls = 0;
  chosen = n;
  chosen_errno = err;
}

long
interrupt_calls (void)
{
  return calls;
}

static int
interrupted (void)
{
  if (++calls != chosen)
    return 0;
  if (chosen_errno == 0)
    raise (SIGKILL);
  errno = chosen_errno;
  return 1;
}

#define NEXT(name) ((__typeof__ (&name)) dlsym (RTLD_NEXT, #name))
#define WRAP(result, name, declared, passed)                                                                             \
  result name declared                                                                                                   \
  {                                                                                                                      \
    return interrupted () ? -1 : NEXT (name) passed;                                                                     \
  }

WRAP (int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
WRAP (int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
WRAP (int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP (int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP (int, ftruncate, (int fd, off_t size), (fd, size))
WRAP (int, ftruncate64, (int fd, off64_t size), (fd, size))
WRAP (int, fallocate, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len))
WRAP (int, fallocate64, (int fd, int mode, off64_t at, off64_t len), (fd, mode, at, len))
WRAP (ssize_t, pwritev, (int fd, const struct iovec *iov, int n, off_t at), (fd, iov, n, at))
WRAP (ssize_t, pwritev64, (int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at))
WRAP (int, fdatasync, (int fd), (fd))
WRAP (int, fsync, (int fd), (fd))

static int
open_with (const char *name, int fd, const char *path, int flags, va_list args)
{
  int (*next) (int, const char *, int, ...) = (int (*) (int, const char *, int, ...)) dlsym (RTLD_NEXT, name);

  if (!(flags & O_CREAT))
    return next (fd, path, flags);
  return interrupted () ? -1 : next (fd, path, flags, va_arg (args, mode_t));
}

int
openat (int fd, const char *path, int flags, ...)
{
  va_list args;

  va_start (args, flags);
  int r = open_with ("openat", fd, path, flags, args);
  va_end (args);
  return r;
}

int
openat64 (int fd, const char *path, int flags, ...)
{
  va_list args;

  va_start (args, flags);
  int r = open_with ("openat64", fd, path, flags, args);
  va_end (args);
  return r;
}

/* Only renameat2 changes files. */
long
syscall (long number, ...)
{
  long (*next) (long, ...) = (long (*) (long, ...)) dlsym (RTLD_NEXT, "syscall");
  long a[6];
  va_list args;

  va_start (args, number);
  for (int i = 0; i < 6; ++i)
    a[i] = va_arg (args, long);
  va_end (args);
  if (number == SYS_renameat2 && interrupted ())
    return -1;
  return next (number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
