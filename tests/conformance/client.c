/* A program as others write them against VDDK: it loads the library by its absolute path, opens a disk on one thread,
 * keeps several asynchronous requests in flight from another, and closes on a third.
 *
 *   client LIBDIR info DISK     capacity in bytes, links, transport mode
 *   client LIBDIR map DISK      "OFFSET LENGTH" in bytes of each allocated area
 *   client LIBDIR dump DISK     the whole disk to standard output
 *   client LIBDIR load DISK     standard input over the whole disk, then Wait and Flush
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vixDiskLib.h"

#define IN_FLIGHT 8
#define REQUEST_SECTORS 2048

/* Every function that this program calls; each becomes a pointer of the header's type. */
#define FUNCTIONS(X)                                                                                          \
  X (InitEx) X (Exit) X (GetErrorText) X (FreeErrorText) X (AllocateConnectParams) X (FreeConnectParams)      \
  X (ConnectEx) X (Disconnect) X (Open) X (Close) X (GetInfo) X (FreeInfo) X (GetTransportMode)               \
  X (ReadAsync) X (WriteAsync) X (Wait) X (Flush) X (QueryAllocatedBlocks) X (FreeBlockList)

#define DECLARE(name) static __typeof__ (VixDiskLib_##name) *name;
FUNCTIONS (DECLARE)

static const char *disk_path;
static bool read_only;
static VixDiskLibConnection connection;
static VixDiskLibHandle handle;

/* One request's buffer; state is guarded by lock. */
struct slot {
  uint8 *buffer;
  uint64 count;
  VixError result;
  bool done;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t completed = PTHREAD_COND_INITIALIZER;

/* Ends the program with the library's text when result is an error. */
static void
check (VixError result, const char *call)
{
  char *text;

  if (result == VIX_OK)
    return;
  text = GetErrorText (result, NULL);
  fprintf (stderr, "%s: error %llu: %s\n", call, (unsigned long long) result, text);
  FreeErrorText (text);
  exit (1);
}

static void
log_line (const char *format, va_list arguments)
{
  char *text;

  if (vasprintf (&text, format, arguments) == -1)
    abort ();
  fprintf (stderr, "%s", text);
  free (text);
}

/* Binds all functions, ends the program when the library or one of them is missing. */
static void
load_library (const char *libdir)
{
  char path[4096];
  void *library;

  snprintf (path, sizeof path, "%s/lib64/libvixDiskLib.so.8", libdir);
  library = dlopen (path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf (stderr, "%s\n", dlerror ());
    exit (1);
  }
#define BIND(name)                                                                                            \
  if ((name = (__typeof__ (name)) dlsym (library, "VixDiskLib_" #name)) == NULL) {                            \
    fprintf (stderr, "%s\n", dlerror ());                                                                     \
    exit (1);                                                                                                 \
  }
  FUNCTIONS (BIND)
}

static void *
open_disk (void *unused)
{
  VixDiskLibConnectParams *params = AllocateConnectParams ();

  (void) unused;
  check (ConnectEx (params, read_only, NULL, NULL, &connection), "ConnectEx");
  FreeConnectParams (params);
  check (Open (connection, disk_path, read_only ? VIXDISKLIB_FLAG_OPEN_READ_ONLY : 0, &handle), "Open");
  return NULL;
}

static void *
close_disk (void *unused)
{
  (void) unused;
  check (Close (handle), "Close");
  check (Disconnect (connection), "Disconnect");
  return NULL;
}

/* Runs a step to its end on a thread of its own. */
static void
on_a_thread (void *(*step) (void *))
{
  pthread_t thread;

  if (pthread_create (&thread, NULL, step, NULL) != 0)
    abort ();
  pthread_join (thread, NULL);
}

static void
request_completed (void *data, VixError result)
{
  struct slot *slot = data;

  pthread_mutex_lock (&lock);
  slot->result = result;
  slot->done = true;
  pthread_cond_broadcast (&completed);
  pthread_mutex_unlock (&lock);
}

static void
wait_for (struct slot *slot)
{
  pthread_mutex_lock (&lock);
  while (!slot->done)
    pthread_cond_wait (&completed, &lock);
  pthread_mutex_unlock (&lock);
  check (slot->result, "request");
}

static uint64
capacity (void)
{
  VixDiskLibInfo *info;
  uint64 sectors;

  check (GetInfo (handle, &info), "GetInfo");
  sectors = info->capacity;
  FreeInfo (info);
  return sectors;
}

static void
print_info (void)
{
  VixDiskLibInfo *info;

  check (GetInfo (handle, &info), "GetInfo");
  printf ("%llu %d %s\n", (unsigned long long) info->capacity * VIXDISKLIB_SECTOR_SIZE, info->numLinks,
          GetTransportMode (handle));
  FreeInfo (info);
}

/* Whole chunks only, as the interface wants it; what is left behind the last one counts as allocated. */
static void
print_map (void)
{
  const uint64 window = (uint64) VIXDISKLIB_MAX_CHUNK_NUMBER * VIXDISKLIB_MIN_CHUNK_SIZE;
  uint64 sectors = capacity (), whole = sectors - sectors % VIXDISKLIB_MIN_CHUNK_SIZE, start, count;
  VixDiskLibBlockList *list;
  uint32 i;

  for (start = 0; start < whole; start += count) {
    count = whole - start < window ? whole - start : window;
    check (QueryAllocatedBlocks (handle, start, count, VIXDISKLIB_MIN_CHUNK_SIZE, &list), "QueryAllocatedBlocks");
    for (i = 0; i < list->numBlocks; i++)
      printf ("%llu %llu\n", (unsigned long long) list->blocks[i].offset * VIXDISKLIB_SECTOR_SIZE,
              (unsigned long long) list->blocks[i].length * VIXDISKLIB_SECTOR_SIZE);
    check (FreeBlockList (list), "FreeBlockList");
  }
  if (whole < sectors)
    printf ("%llu %llu\n", (unsigned long long) whole * VIXDISKLIB_SECTOR_SIZE,
            (unsigned long long) (sectors - whole) * VIXDISKLIB_SECTOR_SIZE);
}

/* Ends the program when standard input or output breaks. */
static void
transfer (struct slot *slot, bool input)
{
  size_t length = slot->count * VIXDISKLIB_SECTOR_SIZE;

  if ((input ? fread (slot->buffer, 1, length, stdin) : fwrite (slot->buffer, 1, length, stdout)) != length) {
    perror (input ? "standard input" : "standard output");
    exit (1);
  }
}

/* Moves the whole disk, IN_FLIGHT requests at a time, in the order of the disk. */
static void
move_disk (bool writing)
{
  struct slot slots[IN_FLIGHT] = { { 0 } };
  uint64 sectors = capacity (), total = (sectors + REQUEST_SECTORS - 1) / REQUEST_SECTORS, next, start;
  struct slot *slot;
  VixError result;

  for (next = 0; next < total + IN_FLIGHT; next++) {
    slot = &slots[next % IN_FLIGHT];
    if (slot->buffer != NULL && slot->count > 0) {
      wait_for (slot);
      if (!writing)
        transfer (slot, false);
    }
    slot->count = 0;
    if (next >= total)
      continue;
    if (slot->buffer == NULL && (slot->buffer = malloc (REQUEST_SECTORS * VIXDISKLIB_SECTOR_SIZE)) == NULL)
      abort ();
    start = next * REQUEST_SECTORS;
    slot->count = sectors - start < REQUEST_SECTORS ? sectors - start : REQUEST_SECTORS;
    slot->done = false;
    if (writing)
      transfer (slot, true);
    result = writing ? WriteAsync (handle, start, slot->count, slot->buffer, request_completed, slot)
                     : ReadAsync (handle, start, slot->count, slot->buffer, request_completed, slot);
    check (result == VIX_ASYNC ? VIX_OK : result, writing ? "WriteAsync" : "ReadAsync");
  }
  check (Wait (handle), "Wait");
  if (writing)
    check (Flush (handle), "Flush");
  for (next = 0; next < IN_FLIGHT; next++)
    free (slots[next].buffer);
}

int
main (int argc, char *argv[])
{
  if (argc != 4) {
    fprintf (stderr, "usage: client LIBDIR info|map|dump|load DISK\n");
    return 2;
  }
  load_library (argv[1]);
  disk_path = argv[3];
  read_only = strcmp (argv[2], "load") != 0;
  check (InitEx (6, 5, NULL, log_line, log_line, argv[1], NULL), "InitEx");
  on_a_thread (open_disk);
  if (strcmp (argv[2], "info") == 0)
    print_info ();
  else if (strcmp (argv[2], "map") == 0)
    print_map ();
  else
    move_disk (!read_only);
  on_a_thread (close_disk);
  Exit ();
  return 0;
}
