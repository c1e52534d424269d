/* Storage writes single sectors as wholes or not at all, and no more than that is sure.  The text ends at its first NUL;
 * what lies behind is seen by no reader.  So sectors behind the old text are written first, and if only one of the
 * sectors that both texts have differs, writing it is the change: appending lines, or a new content id.  If more differ,
 * they are first written to the end of the area, behind both texts, with a record of what they replace.  Whoever finds
 * the record and a mixture of old and new sectors completes the change.
 *
 * Other ways: a file beside the disk gets lost when the disk is renamed or copied; another place for the descriptor,
 * switched by the header's descriptorOffset, is not found by QEMU, which looks at sector 1 only. */
#define _GNU_SOURCE
#include "disk/descriptor_area.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAGIC "descriptor redo\n"
#define RECORD_MAX 60

/* The last sector of the area; the new sectors lie in front of it.  Numbers little-endian. */
struct record {
  char magic[16];
  uint32_t first, count; /* sectors of the area */
  uint64_t sum;          /* of this sector, with 0 here, and of the new sectors */
  uint64_t old[RECORD_MAX]; /* sums of the sectors to be replaced */
};

_Static_assert (sizeof (struct record) == SECTOR_SIZE, "the record is one sector");
_Static_assert (sizeof RECORD_MAGIC - 1 == sizeof ((struct record *) 0)->magic, "the magic fills its field");

/* What a record says of the area that it was found in. */
enum change { CHANGE_NONE, CHANGE_OLD, CHANGE_TORN, CHANGE_NEW };

/* FNV-1a, continued from sum. */
static uint64_t
checksum (uint64_t sum, const void *data, size_t len)
{
  const unsigned char *p = data;

  for (size_t i = 0; i < len; ++i)
    sum = (sum ^ p[i]) * 0x100000001b3ull;
  return sum;
}

static uint64_t
sector_sum (const char *sector)
{
  return checksum (0xcbf29ce484222325ull, sector, SECTOR_SIZE);
}

static uint64_t
record_sum (struct record record, const char *new, uint32_t count)
{
  record.sum = 0;
  return checksum (sector_sum ((const char *) &record), new, count * SECTOR_SIZE);
}

static uint32_t
sectors_of (const struct area *a)
{
  return (uint32_t) (a->size / SECTOR_SIZE);
}

/* False: there is no sound record.  new: its sectors. */
static bool
find_record (const struct area *a, const char *content, struct record *record, const char **new)
{
  const uint32_t n = sectors_of (a);

  memcpy (record, content + a->size - SECTOR_SIZE, sizeof *record);
  record->first = le32toh (record->first);
  record->count = le32toh (record->count);
  if (memcmp (record->magic, RECORD_MAGIC, sizeof record->magic) != 0 || record->count == 0
      || record->count > RECORD_MAX || record->count > n - 1 || record->first > n - 1 - record->count
      || record->first + record->count > n - 1 - record->count)
    return false;
  *new = content + (n - 1 - record->count) * SECTOR_SIZE;
  return le64toh (record->sum) == record_sum (*(struct record *) (content + a->size - SECTOR_SIZE), *new, record->count);
}

/* A sector that is neither old nor new was written by somebody else later: the record is out of date. */
static enum change
judge (const char *content, const struct record *record, const char *new)
{
  uint32_t n_old = 0, n_new = 0;

  for (uint32_t i = 0; i < record->count; ++i) {
    const char *sector = content + (record->first + i) * SECTOR_SIZE;
    const bool is_new = memcmp (sector, new + i * SECTOR_SIZE, SECTOR_SIZE) == 0;
    const bool is_old = sector_sum (sector) == le64toh (record->old[i]);

    if (!is_new && !is_old)
      return CHANGE_NONE;
    n_old += is_old;
    n_new += is_new;
  }
  return n_new == record->count ? CHANGE_NEW : n_old == record->count ? CHANGE_OLD : CHANGE_TORN;
}

static VixError
read_raw (const struct area *a, char **content)
{
  VixError r;

  *content = malloc (a->size ? a->size : 1);
  r = *content ? file_read (a->file, *content, a->size, a->offset) : report_no_memory ();
  if (r != VIX_OK) {
    free (*content);
    *content = NULL;
  }
  return r;
}

/* Writes count sectors of an image of the area. */
static VixError
write_sectors (const struct area *a, const char *content, uint32_t first, uint32_t count)
{
  return count ? file_write (a->file, content + first * SECTOR_SIZE, count * SECTOR_SIZE,
                             a->offset + first * SECTOR_SIZE)
               : VIX_OK;
}

/* Completes a change in content and takes the record out of it.  True if there was one. */
static bool
complete (const struct area *a, char *content, struct record *record)
{
  const char *new;

  if (a->size < 4 * SECTOR_SIZE || !find_record (a, content, record, &new))
    return false;
  if (judge (content, record, new) == CHANGE_TORN)
    memcpy (content + record->first * SECTOR_SIZE, new, record->count * SECTOR_SIZE);
  memset (content + a->size - (record->count + 1) * SECTOR_SIZE, 0, (record->count + 1) * SECTOR_SIZE);
  return true;
}

VixError
area_read (const struct area *a, char **content)
{
  struct record record;
  VixError r = read_raw (a, content);

  if (r == VIX_OK)
    complete (a, *content, &record);
  return r;
}

VixError
area_mend (const struct area *a)
{
  CLEANUP_FREE char *content = NULL;
  struct record record;
  VixError r = read_raw (a, &content);

  if (r != VIX_OK || !complete (a, content, &record))
    return r;
  r = write_sectors (a, content, record.first, record.count);
  if (r == VIX_OK)
    r = file_sync (a->file);
  if (r == VIX_OK)
    r = write_sectors (a, content, sectors_of (a) - 1 - record.count, record.count + 1);
  return r == VIX_OK ? file_sync (a->file) : r;
}

/* Both images of the area; which sectors of the texts differ. */
struct replacement {
  const struct area *area;
  char *old, *new;
  uint32_t old_end, new_end; /* sectors in which the texts end, that is, with the first NUL */
  uint32_t first, count;     /* changed sectors that both texts have, and what lies between */
};

static uint32_t
end_sector (const struct area *a, const char *content)
{
  const size_t len = strnlen (content, a->size);

  return (uint32_t) ((len < a->size ? len : a->size - 1) / SECTOR_SIZE);
}

static void
compare (struct replacement *p)
{
  const uint32_t n = (p->old_end < p->new_end ? p->old_end : p->new_end) + 1;

  p->count = 0;
  for (uint32_t i = 0; i < n; ++i)
    if (memcmp (p->old + i * SECTOR_SIZE, p->new + i * SECTOR_SIZE, SECTOR_SIZE) != 0) {
      p->first = p->count ? p->first : i;
      p->count = i + 1 - p->first;
    }
}

/* Sectors that the text may have: as many again and one more are needed to replace it. */
static uint32_t
text_sectors (const struct area *a)
{
  return (sectors_of (a) - 1) / 2;
}

static bool
has_room (const struct replacement *p)
{
  const uint32_t end = p->old_end > p->new_end ? p->old_end : p->new_end;

  if (p->new_end >= text_sectors (p->area) && p->new_end > p->old_end)
    return false;
  return p->count <= 1 || (p->count <= RECORD_MAX && end + p->count + 1 < sectors_of (p->area));
}

/* A text that does not end with a line end could not be told from one with garbage inside, once there is something
 * behind it. */
static VixError
end_last_line (struct replacement *p)
{
  const size_t len = strnlen (p->old, p->area->size);
  VixError r;

  if (len == 0 || len == p->area->size || p->old[len - 1] == '\n')
    return VIX_OK;
  p->old[len] = '\n';
  r = write_sectors (p->area, p->old, p->old_end, 1);
  p->old_end = end_sector (p->area, p->old);
  return r == VIX_OK ? file_sync (p->area->file) : r;
}

/* The record and the new sectors in front of it. */
static VixError
write_record (const struct replacement *p)
{
  const struct area *a = p->area;
  CLEANUP_FREE char *buf = malloc ((p->count + 1) * SECTOR_SIZE);
  struct record record = { .first = htole32 (p->first), .count = htole32 (p->count) };

  if (!buf)
    return report_no_memory ();
  memcpy (record.magic, RECORD_MAGIC, sizeof record.magic);
  for (uint32_t i = 0; i < p->count; ++i)
    record.old[i] = htole64 (sector_sum (p->old + (p->first + i) * SECTOR_SIZE));
  memcpy (buf, p->new + p->first * SECTOR_SIZE, p->count * SECTOR_SIZE);
  record.sum = htole64 (record_sum (record, buf, p->count));
  memcpy (buf + p->count * SECTOR_SIZE, &record, sizeof record);
  return file_write (a->file, buf, (p->count + 1) * SECTOR_SIZE, a->offset + a->size - (p->count + 1) * SECTOR_SIZE);
}

static VixError
replace (const struct replacement *p)
{
  const struct area *a = p->area;
  const uint32_t n = sectors_of (a);
  VixError r = VIX_OK;

  if (p->new_end > p->old_end)
    r = write_sectors (a, p->new, p->old_end + 1, p->new_end - p->old_end);
  if (r == VIX_OK && p->count > 1)
    r = write_record (p);
  if (r == VIX_OK && (p->new_end > p->old_end || p->count > 1))
    r = file_sync (a->file);
  if (r == VIX_OK)
    r = write_sectors (a, p->new, p->first, p->count);
  if (r == VIX_OK)
    r = file_sync (a->file);
  if (r == VIX_OK) /* rests of the old text, and the record: it is out of date, on storage before the next change is */
    r = write_sectors (a, p->new, p->new_end + 1, n - 1 - p->new_end);
  return r;
}

static VixError
compare_and_replace (struct replacement *p, const char *text, size_t len)
{
  const struct area *a = p->area;
  VixError r = end_last_line (p);

  if (r != VIX_OK)
    return r;
  memcpy (p->new, text, len);
  p->new_end = end_sector (a, p->new);
  compare (p);
  if (!has_room (p))
    return report (VIX_E_ARGUMENT_TOO_BIG,
                   "%s: the descriptor would have %zu bytes; the file has room for %llu and for replacing them",
                   a->file->path, len, text_sectors (a) * SECTOR_SIZE);
  r = replace (p);
  if (r != VIX_OK && file_write (a->file, p->old, a->size, a->offset) == VIX_OK)
    file_sync (a->file);
  return r;
}

VixError
area_write (const struct area *a, const char *text, size_t len)
{
  struct replacement p = { .area = a, .new = calloc (1, a->size) };
  VixError r = p.new ? VIX_OK : report_no_memory ();

  if (r == VIX_OK && len > a->size)
    r = report (VIX_E_ARGUMENT_TOO_BIG, "%s: the descriptor would have %zu bytes, the file has room for %llu",
                a->file->path, len, (unsigned long long) a->size);
  if (r == VIX_OK)
    r = area_read (a, &p.old);
  if (r == VIX_OK) {
    p.old_end = end_sector (a, p.old);
    r = compare_and_replace (&p, text, len);
  }
  free (p.old);
  free (p.new);
  return r;
}
