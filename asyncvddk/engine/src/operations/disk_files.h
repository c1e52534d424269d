/* The files of one link as files, whatever their formats: for what is done to all of them alike. */
#ifndef ENGINE_DISK_FILES_H
#define ENGINE_DISK_FILES_H

#include "disk/link.h"
#include "disk/lock.h"

struct disk_files {
  struct file *file; /* with the descriptor; writable if its permissions allow that */
  struct descriptor *descriptor;
  uint64_t embedded_offset, embedded_size; /* as in struct link */
  int dirfd;
  char *dir, *name;
  struct file **extents; /* locked; NULL where there is nothing to lock, or all in file */
  const struct file *guard; /* one that the kernel locked; NULL: none */
  struct folder_lock *lock;
  char *change_track; /* name of its change tracking file, there or not; NULL: none, or not named as its own */
};

/* Opens and locks; a disk that is damaged, or whose extents are missing, will do.  Close in any case. */
VixError disk_files_open (const char *path, struct disk_files *f);
void disk_files_close (struct disk_files *f);

/* Leaves the lock folder, before close does. */
void disk_files_unlock (struct disk_files *f);

/* VIX_E_FILE_NAME_INVALID if the disk lists an extent that is not named like its own: it must not be deleted. */
VixError disk_files_check_names (const struct disk_files *f);

/* Deletes what a writer who died was about to make the descriptor; who holds the disk's lock may. */
VixError remove_unfinished (int dirfd, const char *name);

/* Length of a disk's name without ".vmdk". */
size_t base_length (const char *name);

/* True if disk software gives this name to an extent of the disk: base-flat.vmdk, base-s001.vmdk ... */
bool is_extent_name (const char *disk, const char *name);

/* True if the line has a file that belongs to the disk. */
static inline bool
has_file (const struct extent_line *line)
{
  return line->file && line->type != EXTENT_DEVICE;
}

#endif
