/* VixDiskLib_CheckRepair on one hosted sparse extent: header, directories, tables; then the repair. */
#define _GNU_SOURCE
#include "formats/sparse/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "formats/sparse/stream.h"

#define ULL(n) ((unsigned long long) (n))

static VixError
check_tables (struct check *c)
{
  VixError r = scan_init (&c->scan, c->s, c->findings);

  c->scan.whole = true;
  c->scan.copies_at = round_up (c->scan.limit, grain_sectors (c->s));
  c->scan.copies = r == VIX_OK ? malloc (SCAN_MAX_COPIES * sizeof *c->scan.copies) : NULL;
  if (r == VIX_OK && !c->scan.copies)
    r = report_no_memory ();
  return r == VIX_OK ? scan_tables (&c->scan) : r;
}

/* What is no damage. */
static void
tell_leaks (const struct check *c)
{
  const uint64_t leaks = scan_leaks (&c->scan);

  if (leaks > 0)
    engine_log ("%s: %llu bytes that belong to no sector of the disk; defragmenting frees them", c->s->base.file->path,
                ULL ((leaks << c->s->grain_bits) * SECTOR_SIZE));
}

static VixError
check_parts (struct check *c)
{
  VixError r = check_directories (c);

  if (r == VIX_OK && c->findings->count[FOUND_LOSS] == 0)
    r = check_tables (c);
  if (r == VIX_OK && c->s->found_unclean && c->findings->count[FOUND_LOSS] == 0)
    finding (c->findings, FOUND_UNFINISHED, "%s: byte 72: the last writer did not end properly; a repair notes that %s",
             c->s->base.file->path, "the tables are sound");
  return r;
}

static VixError
check_uncompressed (const struct extent_source *source, const struct sparse_header *h, bool header_changed, bool repair,
                    struct findings *f)
{
  struct check c = { .findings = f, .header = *h, .header_changed = header_changed };
  VixError r;

  c.s = sparse_new (source, h);
  if (!c.s)
    return report_no_memory ();
  r = check_parts (&c);
  if (r == VIX_OK && f->count[FOUND_LOSS] == 0) {
    if (!repair)
      tell_leaks (&c);
    else if (findings_total (f) > 0)
      r = check_repair (&c);
  }
  check_directories_free (&c);
  scan_free (&c.scan);
  sparse_free (c.s);
  return r;
}

/* The file may have got longer, or shorter. */
static VixError
note_size (struct file *f)
{
  struct stat st;

  if (fstat (f->fd, &st) == -1)
    return report_errno (errno, f->path, "look at");
  f->size = (uint64_t) st.st_size;
  return VIX_OK;
}

/* A stream without its end is made whole from its grains (stream_repair.c); what a whole one has is only looked at. */
static VixError
check_compressed (const struct extent_source *source, struct sparse_header *h, bool repair, struct findings *f)
{
  VixError r = stream_check (source->file, repair);

  if (r == VIX_E_DISK_NEEDSREPAIR) {
    finding (f, FOUND_DAMAGE, "%s: the stream has no end; a repair makes it whole with the grains that it has",
             source->file->path);
    return VIX_OK;
  }
  if (r != VIX_OK && r != VIX_E_DISK_INVALIDDISK)
    return r;
  r = note_size (source->file);
  return r == VIX_OK ? check_stream (source, h, f) : r;
}

VixError
sparse_check (const struct extent_source *source, bool repair, struct findings *f)
{
  struct sparse_header h;
  bool changed;
  VixError r = check_header (source, f, &h, &changed);

  if (r == VIX_OK)
    r = sparse_refuse_nested (source, &h);
  if (r != VIX_OK)
    return r;
  return h.flags & SPARSE_FLAG_COMPRESSED ? check_compressed (source, &h, repair, f)
                                          : check_uncompressed (source, &h, changed, repair, f);
}
