/* Replaces a descriptor on storage that loses power after every step, with any of the sectors written since the last
 * sync there or not, and while it is mended again.  What is read afterwards must be the old text or the new.
 *
 * Usage: torn_descriptor OLD NEW [NEXT]: OLD holds the whole area, NEW the new text, NEXT the one after that.  Prints the number of states that were
 * tried, or "refused" if there was no room: then nothing may have changed. */
#include <stdio.h>
#include <stdlib.h>

#include "disk/descriptor_area.c"

#define MAX_BYTES (64 * 512)
#define MAX_OPS 64
#define MAX_TEXTS 3
#define ALL_SUBSETS 8 /* of so many sectors at most; of more a sample */
#define SAMPLE 200

struct op {
  bool sync;
  uint64_t offset, len;
  char data[MAX_BYTES];
};

struct history {
  char start[MAX_BYTES];
  struct op ops[MAX_OPS];
  unsigned n;
  unsigned done[MAX_TEXTS]; /* changes that had returned after so many operations */
};

static char storage[MAX_BYTES], texts[MAX_TEXTS][MAX_BYTES];
static struct history *recording;
static struct file file = { .path = "descriptor" };
static struct area area = { .file = &file };
static unsigned long states;
static unsigned n_texts;

VixError
file_read (const struct file *f, void *buf, size_t len, uint64_t offset)
{
  (void) f;
  memcpy (buf, storage + offset, len);
  return VIX_OK;
}

VixError
file_write (const struct file *f, const void *buf, size_t len, uint64_t offset)
{
  (void) f;
  if (recording) {
    struct op *op = &recording->ops[recording->n++];

    op->sync = false;
    op->offset = offset;
    op->len = len;
    memcpy (op->data, buf, len);
  }
  memcpy (storage + offset, buf, len);
  return VIX_OK;
}

VixError
file_sync (const struct file *f)
{
  (void) f;
  if (recording)
    recording->ops[recording->n++].sync = true;
  return VIX_OK;
}

VixError
report (VixError code, const char *fmt, ...)
{
  (void) fmt;
  return code;
}

VixError
report_no_memory (void)
{
  abort ();
}

static void
require (bool truth, const char *what)
{
  if (truth)
    return;
  fprintf (stderr, "%s\n", what);
  exit (1);
}

/* But for the end of the last line, which an old text may lack. */
static bool
same (const char *a, const char *b)
{
  const size_t m = strnlen (a, area.size), n = strnlen (b, area.size), shorter = m < n ? m : n;

  return memcmp (a, b, shorter) == 0 && (m == n || (m + n == 2 * shorter + 1 && (m > n ? a : b)[shorter] == '\n'));
}

/* What a reader sees after so many changes is that text or the next: returns which. */
static unsigned
read_one_of_both (unsigned done)
{
  char *content;
  unsigned found = done;

  require (area_read (&area, &content) == VIX_OK, "cannot be read");
  if (!same (content, texts[done]))
    found = done + 1;
  require (found < n_texts && same (content, texts[found]), "neither old nor new");
  free (content);
  return found;
}

typedef void on_state (unsigned done);

/* Puts storage into the state after the first ops of h, with the sectors of the writes since the last sync for which
 * bit by bit says so. */
static unsigned
state_after (const struct history *h, unsigned ops, unsigned long bits)
{
  unsigned synced = 0, sector = 0;

  memcpy (storage, h->start, sizeof storage);
  for (unsigned i = 0; i < ops; ++i)
    synced = h->ops[i].sync ? i : synced;
  for (unsigned i = 0; i < ops; ++i)
    for (uint64_t at = 0; !h->ops[i].sync && at < h->ops[i].len; at += 512)
      if (i < synced || (bits >> (sector++ % 64)) & 1)
        memcpy (storage + h->ops[i].offset + at, h->ops[i].data + at, 512);
  return sector;
}

static void
each_state (const struct history *h, on_state *f)
{
  for (unsigned ops = 0; ops <= h->n; ++ops) {
    const unsigned sectors = state_after (h, ops, 0);
    const unsigned done = (h->done[1] && ops >= h->done[1]) + (h->done[2] && ops >= h->done[2]);
    const unsigned long n = sectors <= ALL_SUBSETS ? 1ul << sectors : SAMPLE;

    for (unsigned long i = 0; i < n; ++i) {
      state_after (h, ops, n == SAMPLE ? (unsigned long) random () << 32 ^ (unsigned long) random () : i);
      ++states;
      f (done);
    }
  }
}

static unsigned expected;

static void
check_mended_state (unsigned done)
{
  (void) done;
  require (read_one_of_both (expected) == expected, "mending changed what is read");
}

static void
check_state (unsigned done)
{
  struct history *mending = calloc (1, sizeof *mending);
  char now[MAX_BYTES];

  expected = read_one_of_both (done);
  memcpy (now, storage, sizeof now);
  memcpy (mending->start, storage, sizeof storage);
  recording = mending;
  require (area_mend (&area) == VIX_OK, "cannot be mended");
  recording = NULL;
  require (same (storage, texts[expected]), "the mended area is not read by other software");
  if (mending->n > 0)
    each_state (mending, check_mended_state);
  memcpy (storage, now, sizeof now);
  free (mending);
}

static size_t
load (const char *path, char *to)
{
  FILE *f = fopen (path, "r");
  size_t n = fread (to, 1, MAX_BYTES, f);

  fclose (f);
  return n;
}

/* False: refused. */
static bool
change (struct history *h, unsigned number, size_t len)
{
  recording = h;
  if (area_write (&area, texts[number], len) != VIX_OK) {
    require (h->n == 0, "refused, but written to");
    return false;
  }
  recording = NULL;
  h->done[number] = h->n;
  require (strcmp (storage, texts[number]) == 0, "not written");
  for (uint64_t i = len; i < area.size; ++i)
    require (storage[i] == 0, "something is left behind the text");
  return true;
}

int
main (int argc, char **argv)
{
  static struct history history;

  n_texts = (unsigned) argc - 1;
  require (n_texts >= 2 && n_texts <= MAX_TEXTS, "usage: torn_descriptor OLD NEW [NEXT]");
  area.size = load (argv[1], storage);
  memcpy (texts[0], storage, sizeof storage);
  memcpy (history.start, storage, sizeof storage);
  for (unsigned i = 1; i < n_texts; ++i)
    if (!change (&history, i, load (argv[i + 1], texts[i]))) {
      puts ("refused");
      return 0;
    }
  each_state (&history, check_state);
  printf ("%lu\n", states);
  return 0;
}
