/* Disks that build on a disk. */
#ifndef ENGINE_CHILDREN_H
#define ENGINE_CHILDREN_H

#include "disk/link.h"

/* Name of a .vmdk file in the disk's own folder that has it as parent, malloc'ed; NULL if there is none.  Children
 * elsewhere, and files that cannot be read, are not found. */
char *find_child (const struct link *l);

#endif
