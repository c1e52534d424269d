#define _GNU_SOURCE
#include "formats/inflate.h"

#include <dlfcn.h>
#include <pthread.h>

#include "base/io.h"

/* uncompress2 of zlib 1.2.9 and later; its numbers are unsigned long.  0 is success, -4 lack of memory. */
typedef int uncompress2_function (unsigned char *, unsigned long *, const unsigned char *, unsigned long *);

#define Z_MEM_ERROR (-4)

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static uncompress2_function *uncompress2;

/* The library stays loaded: other parts of the process may use it by then. */
static void
load (void)
{
  void *zlib = dlopen ("libz.so.1", RTLD_NOW | RTLD_LOCAL);

  if (zlib)
    uncompress2 = (uncompress2_function *) dlsym (zlib, "uncompress2");
}

VixError
inflate_exactly (const uint8_t *packed, size_t size, uint8_t *buf, size_t *length)
{
  unsigned long in = size, out = *length;
  int r;

  pthread_once (&loaded, load);
  if (!uncompress2)
    return report (VIX_E_DISK_SUBSYSTEM_INIT_FAIL,
                   "libz.so.1 of zlib 1.2.9 or later, which compressed grains need, cannot be loaded");
  r = uncompress2 (buf, &out, packed, &in);
  *length = out;
  if (r == Z_MEM_ERROR)
    return report_no_memory ();
  return r == 0 && in == size ? VIX_OK : VIX_E_DISK_NEEDSREPAIR;
}
