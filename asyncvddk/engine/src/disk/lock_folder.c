/* The folder name.lck beside a disk, in which VMware's programs enter themselves before they use it: a file of 512 bytes
 * each, M and five digits, whose line names machine and process.  Who finds a living one but his own gives up.  It is
 * made under the same number with E, and complete when it gets its name; D with that number is a folder of a VMware
 * program that is just entering, whose entry may appear at any moment.
 *
 * Among our own processes the kernel's lock, taken before and dropped after, lets only one be here.  An entry of a dead
 * process of this machine is removed.  Entries of other machines, and of VMware's programs, never are: nobody here
 * knows whether they are alive.  Where no entry can be made (a folder that is read-only, a full disk) the kernel's lock
 * must do. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/lock.h"

#define ATTEMPTS 16 /* at what fails if another program is there at the same moment */
#define MAX_ENTRIES 1000

struct folder_lock {
  struct lock_owner self;
  int parent;   /* the disk's folder */
  int folder;   /* -1: not open */
  int guard;    /* keeps the kernel's lock; -1: none */
  char *path, *name; /* of the lock folder */
  char member[12];
};

static void
folder_lock_free (struct folder_lock *l)
{
  if (l->folder != -1)
    close (l->folder);
  if (l->parent != -1)
    close (l->parent);
  if (l->guard != -1)
    close (l->guard);
  free (l->path);
  free (l->name);
  free (l);
}

static struct folder_lock *
folder_lock_new (int dirfd, const char *dir, const char *name, const struct file *guard)
{
  struct folder_lock *l = calloc (1, sizeof *l);

  if (!l)
    return NULL;
  l->folder = -1;
  l->guard = guard && guard->locked ? fcntl (guard->fd, F_DUPFD_CLOEXEC, 0) : -1;
  l->parent = fcntl (dirfd, F_DUPFD_CLOEXEC, 0);
  if (l->parent == -1 || asprintf (&l->name, "%s.lck", name) == -1 || asprintf (&l->path, "%s/%s.lck", dir, name) == -1) {
    folder_lock_free (l);
    return NULL;
  }
  lock_owner_self (l->path, &l->self);
  return l;
}

/* M, D or E, five digits, .lck */
static bool
is_entry_name (const char *name)
{
  return strlen (name) == 10 && strchr ("MDE", *name) && strspn (name + 1, "0123456789") == 5
         && strcmp (name + 6, ".lck") == 0;
}

/* The bytes of an entry; their number, -1 with errno. */
static ssize_t
read_entry (const struct folder_lock *l, const char *name, char entry[LOCK_ENTRY_SIZE])
{
  int fd = openat (l->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  ssize_t n = fd == -1 ? -1 : read (fd, entry, LOCK_ENTRY_SIZE);
  int err = errno;

  if (fd != -1)
    close (fd);
  errno = err;
  return n;
}

static VixError
refuse (const struct folder_lock *l, const char *name, const char *owner, const char *what_to_do)
{
  return report (VIX_E_FILE_ALREADY_LOCKED, "%.*s: is in use by %s (%s/%s); %s", (int) strlen (l->path) - 4, l->path,
                 owner, l->path, name, what_to_do);
}

static VixError
refuse_owner (const struct folder_lock *l, const char *name, const struct lock_owner *owner)
{
  CLEANUP_FREE char *text = NULL;

  if (lock_owner_is_local (owner, &l->self))
    return asprintf (&text, "process %s of this machine", owner->process) == -1
             ? report_no_memory ()
             : refuse (l, name, text, "close it there first");
  return asprintf (&text, "process %s of machine %s, or a program of VMware here", owner->process, owner->machine) == -1
           ? report_no_memory ()
           : refuse (l, name, text, "close it there; if that process is gone for certain, remove the lock's folder");
}

/* Judges one entry that is not ours; dead ones are removed.  *number rises to the highest one. */
static VixError
judge_entry (const struct folder_lock *l, const char *name, unsigned *number)
{
  char entry[LOCK_ENTRY_SIZE] = "";
  ssize_t n = read_entry (l, name, entry);
  struct lock_owner owner;
  /* A writer gives complete entries their name; zeros are what a cut of power makes of one. */
  const bool empty = n == 0 || (n > 0 && entry[0] == '\0');
  const bool valid = n == LOCK_ENTRY_SIZE && lock_owner_parse (entry, &owner);

  if (n == -1 && errno == ENOENT)
    return VIX_OK;
  if (empty || (valid && lock_owner_is_gone (&owner, &l->self, l->guard != -1))) {
    engine_warn ("%s/%s: was left behind by a writer that did not end properly; removed", l->path, name);
    unlinkat (l->folder, name, 0);
    return VIX_OK;
  }
  if (!valid)
    return refuse (l, name, "an unknown program", "if nobody uses the disk, remove the lock's folder");
  *number = owner.number > *number ? owner.number : *number;
  return refuse_owner (l, name, &owner);
}

/* An entry of ours that never got its name. */
static void
clean_unfinished (const struct folder_lock *l, const char *name)
{
  char entry[LOCK_ENTRY_SIZE] = "";
  struct lock_owner owner;
  ssize_t n = read_entry (l, name, entry);

  if (n == 0 || (n > 0 && lock_owner_parse (entry, &owner) && lock_owner_is_gone (&owner, &l->self, l->guard != -1)))
    unlinkat (l->folder, name, 0);
}

/* VIX_OK: nobody else is here.  l->folder is open. */
static VixError
scan (const struct folder_lock *l, unsigned *number)
{
  int fd = openat (l->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd == -1 ? NULL : fdopendir (fd);
  const struct dirent *e;
  VixError r = VIX_OK;

  if (!dir) {
    if (fd != -1)
      close (fd);
    return refuse (l, "", "somebody whose entry cannot be read", "see to the permissions of the lock's folder");
  }
  for (unsigned n = 0; r == VIX_OK && n < MAX_ENTRIES && (e = readdir (dir)); ++n) {
    if (!is_entry_name (e->d_name) || strcmp (e->d_name, l->member) == 0)
      continue;
    if (*e->d_name == 'M')
      r = judge_entry (l, e->d_name, number);
    else if (*e->d_name == 'E')
      clean_unfinished (l, e->d_name);
    else
      r = refuse (l, e->d_name, "a program of VMware that is about to open it",
                  "try again; if this lasts and nobody uses the disk, remove the lock's folder");
  }
  closedir (dir);
  return r;
}

/* Opens the lock folder, made if there is none.  *made is false if that is not possible. */
static VixError
open_folder (struct folder_lock *l, bool *made)
{
  *made = true;
  if (mkdirat (l->parent, l->name, 0777) == -1 && errno != EEXIST) {
    *made = false;
    engine_warn ("%s: cannot make the folder of the lock (%m); programs of VMware may not notice that the disk is in use",
                 l->path);
    return VIX_OK;
  }
  if (l->folder != -1)
    close (l->folder);
  l->folder = openat (l->parent, l->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (l->folder != -1 || errno == ENOENT)
    return VIX_OK;
  if (errno == ENOTDIR || errno == ELOOP)
    return report (VIX_E_FILE_ALREADY_LOCKED, "%s: is no folder, but perhaps a lock of an old program; if nobody uses "
                   "the disk, remove it", l->path);
  return report_errno (errno, l->path, "open the folder of the lock");
}

/* Writes the entry and gives it its name.  0, or errno. */
static int
publish (struct folder_lock *l)
{
  char entry[LOCK_ENTRY_SIZE], name[12];
  uint16_t random = 0;
  int fd, err = 0;

  if (getrandom (&random, sizeof random, 0) != sizeof random)
    random = (uint16_t) l->self.pid;
  snprintf (l->member, sizeof l->member, "M%05u.lck", random);
  snprintf (name, sizeof name, "E%05u.lck", random);
  lock_owner_format (&l->self, entry);
  fd = openat (l->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd == -1)
    return errno;
  if (write (fd, entry, sizeof entry) != sizeof entry)
    err = ENOSPC;
  close (fd);
  if (err == 0)
    err = file_rename_new (l->folder, name, l->folder, l->member);
  if (err != 0)
    unlinkat (l->folder, name, 0);
  return err;
}

/* VIX_OK with *entered false: no entry can be made. */
static VixError
enter (struct folder_lock *l, bool *entered)
{
  int err = ENOENT;

  for (unsigned i = 0; i < ATTEMPTS && (err == ENOENT || err == EEXIST); ++i) {
    VixError r = open_folder (l, entered);

    if (r != VIX_OK || !*entered)
      return r;
    if (l->folder == -1)
      continue;
    l->self.number = 0;
    r = scan (l, &l->self.number);
    if (r != VIX_OK)
      return r;
    ++l->self.number;
    err = publish (l);
    if (err == 0)
      return scan (l, &l->self.number);
  }
  errno = err;
  engine_warn ("%s: cannot be entered (%m); programs of VMware may not notice that the disk is in use", l->path);
  *l->member = '\0';
  *entered = false;
  return VIX_OK;
}

/* The folder goes, too, unless others are entered. */
void
folder_lock_drop (struct folder_lock *l)
{
  if (!l)
    return;
  if (*l->member && getpid () == l->self.pid) /* the copy of a handle that a fork made leaves the entry alone */
    unlinkat (l->folder, l->member, 0);
  if (l->folder != -1 && getpid () == l->self.pid)
    unlinkat (l->parent, l->name, AT_REMOVEDIR);
  folder_lock_free (l);
}

VixError
folder_lock_take (int dirfd, const char *dir, const char *name, const struct file *guard, struct folder_lock **out)
{
  struct folder_lock *l = folder_lock_new (dirfd, dir, name, guard);
  bool entered = false;
  VixError r = l ? enter (l, &entered) : report_no_memory ();

  *out = NULL;
  if (r != VIX_OK || !entered) {
    folder_lock_drop (l);
    return r;
  }
  *out = l;
  return VIX_OK;
}
