#define _GNU_SOURCE
#include "formats/deflate.h"

#include <dlfcn.h>
#include <pthread.h>

#include "base/io.h"

/* compress2 of zlib; its numbers are unsigned long.  0 is success, -4 lack of memory. */
typedef int compress2_function (unsigned char *, unsigned long *, const unsigned char *, unsigned long, int);

#define Z_MEM_ERROR (-4)

/* The fastest level: about twice as fast as the default of 6, with output about 7 % larger. */
#define LEVEL 1

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static compress2_function *compress2;

/* The library stays loaded: other parts of the process may use it by then. */
static void
load (void)
{
  void *zlib = dlopen ("libz.so.1", RTLD_NOW | RTLD_LOCAL);

  if (zlib)
    compress2 = (compress2_function *) dlsym (zlib, "compress2");
}

VixError
deflate_available (void)
{
  pthread_once (&loaded, load);
  return compress2 ? VIX_OK
                   : report (VIX_E_DISK_SUBSYSTEM_INIT_FAIL,
                             "libz.so.1 of zlib, which compressed grains need, cannot be loaded");
}

VixError
deflate_into (const uint8_t *raw, size_t size, uint8_t *buf, size_t *length)
{
  unsigned long out = *length;
  VixError r = deflate_available ();
  int z;

  if (r != VIX_OK)
    return r;
  z = compress2 (buf, &out, raw, size, LEVEL);
  *length = out;
  if (z == Z_MEM_ERROR)
    return report_no_memory ();
  return z == 0 ? VIX_OK : report (VIX_E_FAIL, "a grain cannot be compressed (zlib says %d)", z);
}
