/* A stream without its end: what is there is found by the markers in front of the grains, twice.  The first walk finds
 * where the last grain ends, the second one writes the tables behind it.  Memory: the directory and two tables. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "formats/inflate.h"
#include "formats/sparse/stream.h"

#define ULL(n) ((unsigned long long) (n))

/* A table that grains are entered into. */
struct open_table {
  uint32_t index;
  uint32_t *entries; /* NULL: not in use */
};

struct repair {
  const struct file *f;
  struct sparse_header h;
  uint64_t limit;    /* sector of the file that ends the walk */
  uint64_t end;      /* behind the last sound grain */
  uint64_t damaged;  /* grains that were left out */
  bool write;        /* the second walk */
  uint64_t out;      /* sector where the next table goes */
  uint32_t *directory;
  uint32_t n_tables, table_sectors;
  uint32_t closed; /* no table before this one is opened again */
  struct open_table tables[2]; /* ascending: a writer flushes grains of the next table before it ends one, at most */
  uint8_t *packed, *raw;
};

/* Writes the lower one of the open tables. */
static VixError
close_table (struct repair *p)
{
  const struct stream_marker marker = stream_make_marker (STREAM_TABLE, p->table_sectors);
  struct open_table *t = &p->tables[0];
  struct iovec iov[] = { { (void *) &marker, sizeof marker }, { t->entries, p->table_sectors * SECTOR_SIZE } };
  VixError r = VIX_OK;

  if (p->write) {
    if (p->out + 1 + p->table_sectors > SPARSE_MAX_FILE_SECTORS)
      return report (VIX_E_DISK_CANTREPAIR, "%s: is too large for its tables", p->f->path);
    r = file_writev (p->f, iov, 2, p->out * SECTOR_SIZE);
    p->directory[t->index] = htole32 ((uint32_t) p->out + 1);
    p->out += 1 + p->table_sectors;
  }
  p->closed = t->index + 1;
  free (t->entries);
  p->tables[0] = p->tables[1];
  p->tables[1] = (struct open_table){ 0 };
  return r;
}

/* The entries of a table, which is opened; NULL, with VIX_OK: it was closed already. */
static VixError
find_table (struct repair *p, uint32_t index, uint32_t **entries)
{
  struct open_table *t = p->tables, new = { .index = index };
  VixError r = VIX_OK;

  *entries = NULL;
  for (unsigned i = 0; i < 2; ++i)
    if (t[i].entries && t[i].index == index)
      *entries = t[i].entries;
  if (*entries)
    return VIX_OK;
  if (t[1].entries && index > t[0].index)
    r = close_table (p);
  if (r != VIX_OK || t[1].entries || index < p->closed)
    return r;
  new.entries = *entries = calloc (p->table_sectors, SECTOR_SIZE);
  if (!new.entries)
    return report_no_memory ();
  if (t[0].entries && t[0].index < index)
    t[1] = new;
  else {
    t[1] = t[0];
    t[0] = new;
  }
  return VIX_OK;
}

/* VIX_E_DISK_NEEDSREPAIR, not reported: the compressed bytes are not a whole grain. */
static VixError
check_packed (const struct repair *p, uint64_t lba, uint32_t size)
{
  const size_t full = p->h.grain_size * SECTOR_SIZE;
  const uint64_t left = (p->h.capacity - lba) * SECTOR_SIZE;
  size_t length = full;
  VixError r = inflate_exactly (p->packed, size, p->raw, &length);

  return r != VIX_OK || length == full || length == left ? r : VIX_E_DISK_NEEDSREPAIR;
}

/* Behind a marker and what it speaks of; 0: that is no marker, or the last one. */
static uint64_t
behind_marker (const struct repair *p, const struct stream_marker *m, uint64_t sector)
{
  const uint64_t sectors = le64toh (m->sectors), directory = round_up (4ull * p->n_tables, SECTOR_SIZE) / SECTOR_SIZE;
  const uint64_t expected[] = { [STREAM_TABLE] = p->table_sectors, [STREAM_DIRECTORY] = directory, [STREAM_FOOTER] = 1 };
  const uint32_t type = le32toh (m->type);

  if (type == STREAM_PROGRESS)
    return sector + 1;
  if (type == STREAM_END || type > STREAM_FOOTER || sectors != expected[type])
    return 0;
  return sector + 1 + sectors;
}

/* Behind the grain that begins at sector; 0: there is none. */
static uint64_t
behind_grain (const struct repair *p, uint64_t lba, uint32_t size, uint64_t sector)
{
  const uint64_t next = sector + round_up (sizeof (struct grain_marker) + (uint64_t) size, SECTOR_SIZE) / SECTOR_SIZE;

  return size > 2 * p->h.grain_size * SECTOR_SIZE || lba % p->h.grain_size || lba >= p->h.capacity || next > p->limit
           ? 0
           : next;
}

/* VIX_E_DISK_NEEDSREPAIR, not reported: the grain at a sector of the file is damaged. */
static VixError
read_grain (const struct repair *p, uint64_t lba, uint32_t size, uint64_t sector)
{
  VixError r = file_read (p->f, p->packed, size, sector * SECTOR_SIZE + sizeof (struct grain_marker));

  return r == VIX_OK ? check_packed (p, lba, size) : r;
}

/* What stands in front of a grain, or where one may be. */
static VixError
read_marker (const struct repair *p, uint64_t sector, struct stream_marker *m)
{
  return file_read (p->f, m, sizeof *m, sector * SECTOR_SIZE);
}

/* The first sector from *sector on where a sound grain begins; the limit if there is none. */
static VixError
find_grain (const struct repair *p, uint64_t *sector)
{
  VixError r = VIX_OK;

  for (; r == VIX_OK && *sector < p->limit; ++*sector) {
    struct stream_marker m;
    uint64_t data, stop;

    r = read_marker (p, *sector, &m);
    if (r == VIX_OK && m.size != 0 && behind_grain (p, le64toh (m.sectors), le32toh (m.size), *sector)) {
      r = read_grain (p, le64toh (m.sectors), le32toh (m.size), *sector);
      if (r != VIX_E_DISK_NEEDSREPAIR)
        return r;
      r = VIX_OK;
    }
    else if (r == VIX_OK && m.size == 0 && m.sectors == 0) {
      file_next_data (p->f, *sector * SECTOR_SIZE, p->limit * SECTOR_SIZE, &data, &stop);
      *sector = data / SECTOR_SIZE > *sector ? data / SECTOR_SIZE - 1 : *sector;
    }
  }
  return r;
}

/* Behind damage at a sector the walk goes on with the next sound grain.  There is none behind what was cut. */
static VixError
pass_damage (struct repair *p, uint64_t sector, uint64_t *next)
{
  VixError r;

  *next = sector + 1;
  r = find_grain (p, next);
  if (r != VIX_OK || *next >= p->limit)
    return r;
  if (p->write)
    report (VIX_E_DISK_NEEDSREPAIR, "%s: bytes %llu to %llu are damaged and are left out", p->f->path,
            ULL (sector * SECTOR_SIZE), ULL (*next * SECTOR_SIZE - 1));
  ++p->damaged;
  return VIX_OK;
}

/* Enters a sound grain. */
static VixError
take_grain (struct repair *p, uint64_t lba, uint64_t sector, uint64_t next)
{
  const uint64_t grain = lba / p->h.grain_size;
  uint32_t *entries;
  VixError r = find_table (p, (uint32_t) (grain / p->h.num_gtes_per_gt), &entries);

  if (r != VIX_OK)
    return r;
  if (!entries)
    return report (VIX_E_DISK_CANTREPAIR,
                   "%s: byte %llu: the grain of sector %llu comes too late, the grains are in no order; nothing was "
                   "changed",
                   p->f->path, ULL (sector * SECTOR_SIZE), ULL (lba));
  entries[grain % p->h.num_gtes_per_gt] = htole32 ((uint32_t) sector);
  p->end = next;
  return VIX_OK;
}

/* A grain may be at sector.  *next: behind it; 0: it is not to be trusted. */
static VixError
pass_grain (struct repair *p, const struct stream_marker *m, uint64_t sector, uint64_t *next)
{
  const uint64_t lba = le64toh (m->sectors);
  const uint32_t size = le32toh (m->size);
  struct stream_marker behind;
  VixError r;

  *next = behind_grain (p, lba, size, sector);
  if (*next == 0)
    return VIX_OK;
  r = read_grain (p, lba, size, sector);
  if (r != VIX_E_DISK_NEEDSREPAIR)
    return r == VIX_OK ? take_grain (p, lba, sector, *next) : r;
  if (p->write)
    report (r, "%s: byte %llu: the grain of sector %llu is damaged and is left out", p->f->path,
            ULL (sector * SECTOR_SIZE), ULL (lba));
  ++p->damaged;
  if (*next == p->limit)
    return VIX_OK;
  r = read_marker (p, *next, &behind);
  if (r == VIX_OK
      && !(behind.size ? behind_grain (p, le64toh (behind.sectors), le32toh (behind.size), *next)
                       : behind_marker (p, &behind, *next)))
    *next = 0; /* its size is damaged, too */
  return r;
}

/* From the first grain to the limit, or to the footer: what lies behind that is of an older, longer file. */
static VixError
walk (struct repair *p)
{
  uint64_t sector = p->h.overhead > p->h.descriptor_offset + p->h.descriptor_size
                      ? p->h.overhead
                      : p->h.descriptor_offset + p->h.descriptor_size;
  bool footer = false;
  VixError r = VIX_OK;

  p->end = sector = sector ? sector : 1;
  while (r == VIX_OK && !footer && sector < p->limit) {
    struct stream_marker m;
    uint64_t next = 0;

    r = read_marker (p, sector, &m);
    if (r == VIX_OK && m.size != 0)
      r = pass_grain (p, &m, sector, &next);
    else if (r == VIX_OK) {
      next = behind_marker (p, &m, sector);
      footer = next && le32toh (m.type) == STREAM_FOOTER;
    }
    if (r == VIX_OK && next == 0)
      r = pass_damage (p, sector, &next);
    sector = next;
  }
  while (r == VIX_OK && p->tables[0].entries)
    r = close_table (p);
  return r;
}

static VixError
rebuild (struct repair *p)
{
  VixError r = walk (p);

  if (r != VIX_OK)
    return r;
  p->write = true;
  p->limit = p->out = p->end;
  p->closed = 0;
  p->damaged = 0;
  if (ftruncate (p->f->fd, (off_t) (p->end * SECTOR_SIZE)) == -1)
    return report_errno (errno, p->f->path, "cut the end off");
  r = walk (p);
  if (r == VIX_OK)
    r = stream_write_end (p->f, p->directory, p->n_tables, p->out);
  if (r == VIX_OK)
    engine_warn ("%s: the stream had no end; its tables were made anew from the grains that it has, %llu damaged ones "
                 "left out",
                 p->f->path, ULL (p->damaged));
  return r;
}

static VixError
repair_stream (const struct file *f, const struct sparse_header *h)
{
  struct repair p = { .f = f, .h = *h, .limit = f->size / SECTOR_SIZE };
  const size_t grain = h->grain_size * SECTOR_SIZE;
  VixError r;

  p.table_sectors = (uint32_t) (h->num_gtes_per_gt * sizeof (uint32_t) / SECTOR_SIZE);
  p.n_tables = (uint32_t) ((h->capacity - 1) / (h->num_gtes_per_gt * h->grain_size)) + 1;
  p.directory = calloc (p.n_tables, sizeof *p.directory);
  p.packed = malloc (2 * grain);
  p.raw = malloc (grain);
  r = p.directory && p.packed && p.raw ? rebuild (&p) : report_no_memory ();
  free (p.directory);
  free (p.packed);
  free (p.raw);
  free (p.tables[0].entries);
  free (p.tables[1].entries);
  return r;
}

VixError
stream_check (const struct file *f, bool repair)
{
  struct sparse_header h, with_footer;
  VixError r = sparse_read_header (f, &h);

  if (r != VIX_OK || h.gd_offset != SPARSE_GD_AT_END)
    return r;
  with_footer = h;
  r = stream_read_footer (f, &with_footer);
  if (r != VIX_E_DISK_NEEDSREPAIR || !repair)
    return r;
  return repair_stream (f, &h);
}
