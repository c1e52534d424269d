/* Regular files: opened with confinement, read and written in full, every failure reported once with its place. */
#ifndef ENGINE_IO_H
#define ENGINE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/engine.h"
#include "base/report.h"

#define SECTOR_SIZE 512ull

/* Answer of reads with nowait: nothing was done, the data is not in memory; ask again without nowait. */
#define DISK_WOULD_BLOCK (1ull << 32)

struct file {
  int fd;
  char *path; /* for messages */
  dev_t dev;
  ino_t ino;
  uint64_t size; /* bytes, when it was opened */
  bool writable;
  bool locked; /* against other writers, by the kernel */
};

/* Opens an existing regular file by a path that the user gave or a child disk named; symbolic links are followed. */
VixError file_open (const char *path, bool writable, struct file **out);

/* Opens an existing regular file right inside dirfd (whose path is dir); name must be a plain name and no symbolic
 * link. */
VixError file_open_at (int dirfd, const char *dir, const char *name, bool writable, struct file **out);

/* Creates a file inside dirfd; VIX_E_FILE_ALREADY_EXISTS if there is one. */
VixError file_create_at (int dirfd, const char *dir, const char *name, mode_t mode, struct file **out);

/* NULL allowed. */
void file_close (struct file *f);

/* VIX_OK if name is a plain file name: no separator, no "." or "..", not empty, at most 255 bytes. */
VixError check_plain_name (const char *where, const char *name);

/* Byte offsets.  A read that meets the end of the file fails with VIX_E_HOST_FILE_ERROR_EOF. */
VixError file_read (const struct file *f, void *buf, size_t len, uint64_t offset);
VixError file_write (const struct file *f, const void *buf, size_t len, uint64_t offset);

/* The vectors are used up.  nowait: DISK_WOULD_BLOCK unless all of it is in memory; the buffers may be half filled. */
VixError file_readv (const struct file *f, struct iovec *iov, int n, uint64_t offset, bool nowait);
VixError file_writev (const struct file *f, struct iovec *iov, int n, uint64_t offset);

/* Data, and the length of the file, are on stable storage. */
VixError file_sync (const struct file *f);
VixError directory_sync (int dirfd, const char *dir);

/* Gives a file a name that nobody has yet.  0, or errno: EEXIST if the name is taken. */
int file_rename_new (int from_dirfd, const char *from, int to_dirfd, const char *to);

/* Two files of a folder get each other's names at once.  0, or errno: EINVAL, ENOSYS if that cannot be done here. */
int file_exchange (int dirfd, const char *a, const char *b);

/* Splits a path into the directory, opened, and the name in it, in *dir and *name (both malloc'ed).
 * Returns the descriptor, or -1 with *error set (reported). */
int open_directory_of (const char *path, char **dir, char **name, VixError *error);

/* Offset of the next data at or behind offset; end if there is none before it. */
uint64_t file_seek_data (const struct file *f, uint64_t offset, uint64_t end);

/* Offset where the data at offset ends; end if it does not before it, or if the file system cannot tell. */
uint64_t file_seek_hole (const struct file *f, uint64_t offset, uint64_t end);

/* Start and end of the next data at or behind offset, both at most end; no data: *start == *stop == end.
 * File systems that cannot tell say that all is data. */
void file_next_data (const struct file *f, uint64_t offset, uint64_t end, uint64_t *start, uint64_t *stop);

static inline void
cleanup_file (struct file **f)
{
  file_close (*f);
}

#define CLEANUP_FILE __attribute__ ((cleanup (cleanup_file)))

#endif
