/* Exclusion of writers. */
#ifndef ENGINE_LOCK_H
#define ENGINE_LOCK_H

#include "base/io.h"

/* Held until the file is closed.  VIX_E_FILE_ALREADY_LOCKED if somebody else has it. */
VixError lock_for_writing (const struct file *f);

/* The same for a file that is open for reading only: there may be other readers. */
VixError lock_against_writers (const struct file *f);

#endif
