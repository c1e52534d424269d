/* The sectors of a sparse extent that hold the descriptor: replaced in one step, although they are many. */
#ifndef ENGINE_DESCRIPTOR_AREA_H
#define ENGINE_DESCRIPTOR_AREA_H

#include "base/io.h"

/* offset and size are bytes, whole sectors. */
struct area {
  const struct file *file;
  uint64_t offset, size;
};

/* The area as it is meant to be, malloc'ed: a change that was cut off is completed in memory. */
VixError area_read (const struct area *a, char **content);

/* The same in the file, and no trace of the change is left.  The caller has the lock for writing. */
VixError area_mend (const struct area *a);

/* Replaces the text.  Cut off anywhere, with any of the unsynced sectors written or not, area_read gives the old text
 * or the new.  On an error the old text is put back.  VIX_E_ARGUMENT_TOO_BIG: less than half of the area is for text.
 * The caller has the lock for writing. */
VixError area_write (const struct area *a, const char *text, size_t len);

#endif
