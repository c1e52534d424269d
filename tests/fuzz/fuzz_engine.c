/* Opens whatever the fuzzer made up, reads, asks, checks, writes: it may fail with a code, and with nothing else.
 *
 * FUZZ_FOLDER names an empty folder, best in memory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "container.h"
#include "vixDiskLib.h"

#define BUFFER_SECTORS 300u
#define LARGEST_FILE (64u << 20)

int LLVMFuzzerInitialize (int *argc, char ***argv);
int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static const char *folder;
static int dirfd_of_folder;
static char path[4096], other[4096], renamed[4096];
static uint8 buffer[BUFFER_SECTORS * 512];
static VixDiskLibConnection connection;

/* Texts of the engine quote the files. */
static void
take_text (const char *fmt, va_list args)
{
  char line[4096];

  vsnprintf (line, sizeof line, fmt, args);
  if (getenv ("FUZZ_VERBOSE"))
    fputs (line, stderr);
}

/* The harness itself must not break, and a promise of the engine must hold. */
static void
must (int condition, const char *what)
{
  if (!condition) {
    fprintf (stderr, "harness: %s\n", what);
    abort ();
  }
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  const struct rlimit largest = { LARGEST_FILE, LARGEST_FILE };

  (void) argc;
  (void) argv;
  folder = getenv ("FUZZ_FOLDER");
  must (folder && (dirfd_of_folder = open (folder, O_RDONLY | O_DIRECTORY)) != -1, "FUZZ_FOLDER names no folder");
  snprintf (path, sizeof path, "%s/%s", folder, container_names[0]);
  snprintf (other, sizeof other, "%s/other.vmdk", folder);
  snprintf (renamed, sizeof renamed, "%s/renamed.vmdk", folder);
  signal (SIGXFSZ, SIG_IGN);
  setrlimit (RLIMIT_FSIZE, &largest);
  must (VixDiskLib_InitEx (8, 0, take_text, take_text, take_text, NULL, NULL) == VIX_OK, "InitEx");
  must (VixDiskLib_Connect (NULL, &connection) == VIX_OK, "Connect");
  return 0;
}

/* Deletes all files of the folder. */
static void
empty_folder (void)
{
  DIR *dir = fdopendir (openat (dirfd_of_folder, ".", O_RDONLY | O_DIRECTORY));

  must (dir != NULL, "fdopendir");
  for (struct dirent *entry; (entry = readdir (dir));)
    if (strcmp (entry->d_name, ".") != 0 && strcmp (entry->d_name, "..") != 0)
      must (unlinkat (dirfd_of_folder, entry->d_name, 0) == 0, entry->d_name);
  closedir (dir);
}

static void
write_files (const struct record *records, size_t n)
{
  int fds[CONTAINER_FILES];

  memset (fds, -1, sizeof fds);
  for (size_t i = 0; i < n; ++i) {
    const struct record *r = &records[i];
    int *fd = &fds[r->file];

    if (*fd == -1)
      *fd = openat (dirfd_of_folder, container_names[r->file], O_RDWR | O_CREAT | O_TRUNC, 0600);
    must (*fd != -1, "open");
    if (r->length == 0)
      must (ftruncate (*fd, r->offset) == 0, "ftruncate");
    else
      must (pwrite (*fd, r->data, r->length, r->offset) == r->length, "pwrite");
  }
  for (size_t i = 0; i < CONTAINER_FILES; ++i)
    if (fds[i] != -1)
      close (fds[i]);
}

static void
query_blocks (VixDiskLibHandle handle, uint64 capacity)
{
  const uint64 chunk = capacity > (uint64) VIXDISKLIB_MIN_CHUNK_SIZE * VIXDISKLIB_MAX_CHUNK_NUMBER
                         ? (capacity / VIXDISKLIB_MAX_CHUNK_NUMBER + 256) / 128 * 128
                         : VIXDISKLIB_MIN_CHUNK_SIZE;
  VixDiskLibBlockList *list = NULL;

  if (capacity >= chunk
      && VixDiskLib_QueryAllocatedBlocks (handle, 0, capacity / chunk * chunk, chunk, &list) == VIX_OK)
    VixDiskLib_FreeBlockList (list);
}

static void
query_metadata (VixDiskLibHandle handle)
{
  size_t size = 0;
  char *text;

  if (VixDiskLib_GetMetadataKeys (handle, NULL, 0, &size) != VIX_E_BUFFER_TOOSMALL || !(text = malloc (size)))
    return;
  if (VixDiskLib_GetMetadataKeys (handle, text, size, NULL) == VIX_OK)
    for (const char *key = text; *key; key += strlen (key) + 1) {
      char value[100];

      VixDiskLib_ReadMetadata (handle, key, value, sizeof value, &size);
    }
  free (text);
}

/* Both ends, a place in the middle, where tables meet. */
static uint64
place (uint64 capacity, unsigned i)
{
  const uint64 places[] = { 0, 65536 - BUFFER_SECTORS / 2, capacity / 2, capacity };
  const uint64 last = capacity > BUFFER_SECTORS ? capacity - BUFFER_SECTORS : 0;

  return places[i] < last ? places[i] : last;
}

static void
transfer (VixDiskLibHandle handle, uint64 capacity, uint8_t flags)
{
  const uint64 count = capacity < BUFFER_SECTORS ? capacity : BUFFER_SECTORS;

  for (unsigned i = 0; i < 4; ++i)
    VixDiskLib_Read (handle, place (capacity, i), count, buffer);
  if (!(flags & RUN_WRITABLE))
    return;
  memset (buffer, 0x5a, sizeof buffer);
  for (unsigned i = 0; i < 4; ++i) {
    VixDiskLib_Write (handle, place (capacity, i), count < 5 ? count : 5, buffer);
    VixDiskLib_Read (handle, place (capacity, i), count, buffer);
  }
  VixDiskLib_WriteMetadata (handle, "fuzz", "value");
  VixDiskLib_Flush (handle);
}

static void
use_disk (VixDiskLibHandle handle, uint8_t flags)
{
  VixDiskLibInfo *info = NULL;
  uint64 space;

  if (VixDiskLib_GetInfo (handle, &info) != VIX_OK)
    return;
  query_metadata (handle);
  VixDiskLib_SpaceNeededForClone (handle, VIXDISKLIB_DISK_SPLIT_SPARSE, &space);
  query_blocks (handle, info->capacity);
  transfer (handle, info->capacity, flags);
  if (flags & RUN_SHRINK)
    VixDiskLib_Shrink (handle, NULL, NULL);
  if (flags & RUN_DEFRAGMENT)
    VixDiskLib_Defragment (handle, NULL, NULL);
  if (flags & RUN_CHILD)
    VixDiskLib_CreateChild (handle, other, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL);
  transfer (handle, info->capacity, flags & (uint8_t) ~RUN_WRITABLE);
  VixDiskLib_FreeInfo (info);
}

/* Calls by path; capacities that a copy would fill pages with are left alone. */
static void
use_path (uint8_t flags, uint64 capacity)
{
  VixDiskLibCreateParams params = { .diskType = VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
                                    .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                    .hwVersion = 13,
                                    .capacity = capacity };

  if ((flags & RUN_GROW) && capacity > 0)
    VixDiskLib_Grow (connection, path, capacity + 70000, TRUE, NULL, NULL);
  if ((flags & RUN_CLONE) && capacity > 0 && capacity < 1u << 17)
    VixDiskLib_Clone (connection, other, connection, path, &params, NULL, NULL, TRUE);
  VixDiskLib_CheckRepair (connection, path, FALSE);
  if ((flags & RUN_REPAIR) && VixDiskLib_CheckRepair (connection, path, TRUE) == VIX_OK)
    must (VixDiskLib_CheckRepair (connection, path, FALSE) == VIX_OK, "a repaired disk is not clean");
  if (VixDiskLib_Rename (path, renamed) == VIX_OK)
    VixDiskLib_Unlink (connection, renamed);
  else
    VixDiskLib_Unlink (connection, path);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct record records[CONTAINER_MAX_RECORDS];
  VixDiskLibHandle handle = NULL;
  uint64 capacity = 0;
  uint32 open_flags;
  uint8_t flags;
  size_t n = container_parse (data, size, &flags, records);

  write_files (records, n);
  open_flags = (flags & RUN_WRITABLE ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY)
             | (flags & RUN_SINGLE_LINK ? VIXDISKLIB_FLAG_OPEN_SINGLE_LINK : 0);
  if (VixDiskLib_Open (connection, path, open_flags, &handle) == VIX_OK) {
    VixDiskLibInfo *info = NULL;

    if (VixDiskLib_GetInfo (handle, &info) == VIX_OK) {
      capacity = info->capacity;
      VixDiskLib_FreeInfo (info);
    }
    use_disk (handle, flags);
    VixDiskLib_Close (handle);
  }
  use_path (flags, capacity);
  empty_folder ();
  return 0;
}
