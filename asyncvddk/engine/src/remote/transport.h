/* Ways to a disk. */
#ifndef ENGINE_TRANSPORT_H
#define ENGINE_TRANSPORT_H

#define TRANSPORT_FILE "file"
#define TRANSPORT_NBDSSL "nbdssl"
#define TRANSPORT_NBD "nbd"

/* The mode by which disks on a server are said to be reached: of the names in modes, which are separated by colons, the
 * first of nbdssl and nbd, else file; static.  As in VDDK file does not reach a server, so lists that begin with it out of
 * habit (file:nbdssl:nbd) mean what comes behind; file alone is told as what it is, direct access to the folder.
 * NULL or empty modes: nbdssl.  NULL: nothing of that is listed. */
const char *transport_choose (const char *modes);

#endif
