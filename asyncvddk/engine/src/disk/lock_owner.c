/* Who made an entry in a lock folder.  The line is VMware's: machine, process with its time of start, number, kind of
 * lock, the time of start again, properties.  The properties "boot" and "pidns" are ours: they say whether the process
 * number means anything here.  The machine's name has a form of its own ("uuid="), which VMware's programs for Linux
 * never give themselves: they take our entries for those of another machine and leave them alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/lock.h"

/* The beginning of a small file, up to the first line end; empty if it cannot be read. */
static void
read_line (const char *path, char *line, size_t size)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  ssize_t n = fd == -1 ? -1 : read (fd, line, size - 1);

  if (fd != -1)
    close (fd);
  line[n > 0 ? n : 0] = '\0';
  line[strcspn (line, "\n")] = '\0';
}

struct process {
  char name[64]; /* in parentheses, without blanks */
  char state;
  unsigned long long start; /* clock ticks since the boot */
};

/* All zeros if the system does not tell. */
static struct process
read_process (int pid)
{
  struct process p = { 0 };
  char path[32], line[1024], *name, *rest;

  snprintf (path, sizeof path, "/proc/%d/stat", pid);
  read_line (path, line, sizeof line);
  name = strchr (line, '(');
  rest = strrchr (line, ')');
  if (!name || !rest || rest < name)
    return p;
  snprintf (p.name, sizeof p.name, "%.*s", (int) (rest + 1 - name), name);
  for (char *c = p.name; *c; ++c)
    if (*c <= ' ')
      *c = '_';
  sscanf (rest + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &p.state,
          &p.start);
  return p;
}

/* The checksum that VMware's entries carry: hash * 33 + byte, from 5381. */
static unsigned
path_checksum (const char *path)
{
  uint32_t hash = 5381;

  for (; *path; ++path)
    hash = hash * 33 + (uint32_t) (signed char) *path;
  return hash;
}

void
lock_owner_self (const char *folder, struct lock_owner *owner)
{
  struct process p = read_process (getpid ());
  struct stat st;
  char id[48];

  *owner = (struct lock_owner){ .number = 1, .pid = getpid (), .start = p.start, .location = path_checksum (folder) };
  read_line ("/proc/sys/kernel/random/boot_id", owner->boot, sizeof owner->boot);
  read_line ("/etc/machine-id", id, sizeof id);
  if (!*id) /* containers often have none */
    snprintf (id, sizeof id, "%s", *owner->boot ? owner->boot : "unknown");
  snprintf (owner->machine, sizeof owner->machine, "uuid=%s", id);
  owner->pid_namespace = stat ("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
  snprintf (owner->process, sizeof owner->process, "%d-%llu%s", owner->pid, p.start, p.name);
}

void
lock_owner_format (const struct lock_owner *o, char entry[LOCK_ENTRY_SIZE])
{
  memset (entry, 0, LOCK_ENTRY_SIZE);
  snprintf (entry, LOCK_ENTRY_SIZE, "%s %s %u X %llu lc=%u boot=%s pidns=%llu", o->machine, o->process, o->number,
            o->start, o->location, *o->boot ? o->boot : "unknown", o->pid_namespace);
}

bool
lock_owner_parse (const char entry[LOCK_ENTRY_SIZE], struct lock_owner *o)
{
  char line[LOCK_ENTRY_SIZE + 1], kind[2];
  const char *at;

  memcpy (line, entry, LOCK_ENTRY_SIZE);
  line[LOCK_ENTRY_SIZE] = '\0';
  *o = (struct lock_owner){ 0 };
  if (sscanf (line, "%63s %127s %u %1s", o->machine, o->process, &o->number, kind) != 4 || !strchr ("XS", *kind)
      || sscanf (o->process, "%d-%llu", &o->pid, &o->start) < 1)
    return false;
  if ((at = strstr (line, " lc=")))
    sscanf (at, " lc=%u", &o->location);
  if ((at = strstr (line, " boot=")))
    sscanf (at, " boot=%39s", o->boot);
  if ((at = strstr (line, " pidns=")))
    sscanf (at, " pidns=%llu", &o->pid_namespace);
  return true;
}

bool
lock_owner_is_local (const struct lock_owner *owner, const struct lock_owner *self)
{
  return strcmp (owner->machine, self->machine) == 0 && *owner->boot;
}

/* False as well if it cannot be told.  A process whose first thread ended looks like a dead one that nobody waited for;
 * the kernel's lock tells them apart. */
static bool
process_is_gone (const struct lock_owner *owner, bool kernel_locked)
{
  struct process p;

  if (owner->pid <= 0)
    return false;
  if (kill (owner->pid, 0) == -1 && errno == ESRCH)
    return true;
  p = read_process (owner->pid);
  if (kernel_locked && (p.state == 'Z' || p.state == 'X'))
    return true;
  return p.start != 0 && owner->start != 0 && p.start != owner->start;
}

/* Where the process can be looked up, that decides; the checksum is another one if the folder was copied with the lock
 * in it.  Else he is gone if the kernel's lock was to be had. */
bool
lock_owner_is_gone (const struct lock_owner *owner, const struct lock_owner *self, bool kernel_locked)
{
  if (!lock_owner_is_local (owner, self))
    return false;
  if (strcmp (owner->boot, self->boot) == 0 && owner->pid_namespace == self->pid_namespace
      && owner->location == self->location)
    return process_is_gone (owner, kernel_locked);
  return kernel_locked;
}
