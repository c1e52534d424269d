/* The extents of the top link, one after the other, in steps between which other threads use the disk.
 *
 * Only this handle knows of it.  A reader that has the same file open, here or in another process, keeps tables in memory
 * that lead to former places: as with every writer, nobody else may have the disk open. */
#include "operations/compact.h"

#include "operations/operations.h"

struct steps {
  struct disk *d;
  struct progress *progress;
  uint64_t before, share, total; /* sectors: of extents that are done, of this one, of all */
};

/* struct compaction's. */
static VixError
let_others (void *opaque, uint64_t done, uint64_t total)
{
  const struct steps *steps = opaque;
  const double part = total > 0 ? (double) done / (double) total : 1;
  VixError r;

  disk_exclusive_end (steps->d);
  r = progress_tell (steps->progress,
                     progress_share (steps->before + (uint64_t) (part * (double) steps->share), steps->total));
  disk_exclusive_begin (steps->d);
  return r;
}

size_t
count_compactable (const struct disk *d, bool *unknown)
{
  size_t n = 0;

  *unknown = false;
  for (size_t i = 0; i < d->top->n_extents; ++i) {
    const struct extent *e = d->top->extents[i];

    n += e->ops->compact != NULL;
    *unknown = *unknown || (e->file && !e->ops->write);
  }
  return n;
}

static VixError
check_writable (const struct disk *d)
{
  if (!d->top->writable)
    return report (VIX_E_FILE_ACCESS_ERROR, "%s: was opened read-only", d->top->path);
  for (size_t i = 0; i < d->top->n_extents; ++i)
    if (d->top->extents[i]->ops->compact && !d->top->extents[i]->file->writable)
      return report (VIX_E_FILE_READ_ONLY, "%s: cannot be written, as the descriptor says",
                     d->top->extents[i]->file->path);
  return VIX_OK;
}

static VixError
compact_extents (struct disk *d, const struct compaction *job, struct progress *progress)
{
  struct steps steps = { .d = d, .progress = progress, .total = link_sectors (d->top) };
  const struct compaction in_steps = {
    .free_zeros = job->free_zeros, .sort = job->sort, .pause = let_others, .opaque = &steps
  };
  VixError r = VIX_OK;

  disk_exclusive_begin (d);
  for (size_t i = 0; r == VIX_OK && i < d->top->n_extents; ++i) {
    struct extent *e = d->top->extents[i];

    steps.share = e->sectors;
    if (e->ops->compact)
      r = e->ops->compact (e, &in_steps);
    steps.before += e->sectors;
    if (r == VIX_OK)
      r = let_others (&steps, 0, 1);
  }
  disk_exclusive_end (d);
  return r;
}

VixError
compact_disk (struct disk *d, const struct compaction *job, struct progress *progress)
{
  VixError r = check_writable (d);

  if (r != VIX_OK)
    return r;
  if (atomic_exchange (&d->in_steps, true))
    return report (VIX_E_OBJECT_IS_BUSY, "%s: is being shrunk or defragmented already", d->top->path);
  progress->what = d->top->path;
  r = progress_tell (progress, 0);
  if (r == VIX_OK)
    r = compact_extents (d, job, progress);
  if (r == VIX_OK)
    r = progress_tell (progress, 100);
  atomic_store (&d->in_steps, false);
  return r;
}
