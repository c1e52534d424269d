/* Text of a new descriptor. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "operations/create.h"
#include "formats/descriptor.h"

struct geometry {
  uint64_t cylinders;
  unsigned heads, sectors;
};

/* As VMware computes it; IDE stops at the highest cylinder of its interface. */
static struct geometry
default_geometry (VixDiskLibAdapterType adapter, uint64_t capacity)
{
  const uint64_t gib = 1ull << 21; /* sectors */
  struct geometry g = { 0, 255, 63 };

  if (adapter == VIXDISKLIB_ADAPTER_IDE)
    g.heads = 16;
  else if (capacity < gib)
    g = (struct geometry){ 0, 64, 32 };
  else if (capacity < 2 * gib)
    g = (struct geometry){ 0, 128, 32 };
  g.cylinders = capacity / (g.heads * g.sectors);
  if (adapter == VIXDISKLIB_ADAPTER_IDE && g.cylinders > 16383)
    g.cylinders = 16383;
  if (g.cylinders == 0)
    g.cylinders = 1;
  return g;
}

static const char *
adapter_name (VixDiskLibAdapterType adapter)
{
  return adapter == VIXDISKLIB_ADAPTER_IDE           ? "ide"
       : adapter == VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC ? "buslogic"
                                                     : "lsilogic";
}

/* 16 random bytes in the way VMware writes them; the first ones mark ids that were generated. */
static void
format_uuid (char uuid[48])
{
  unsigned char b[16];
  char *p = uuid;

  if (getrandom (b, sizeof b, 0) != sizeof b)
    for (unsigned i = 0; i < sizeof b; ++i)
      b[i] = (unsigned char) random_cid ();
  memcpy (b, "\x60\x00\xc2", 3);
  b[3] = 0x90 | (b[3] & 0x0f);
  for (unsigned i = 0; i < sizeof b; ++i)
    p += sprintf (p, "%02x%s", b[i], i == 15 ? "" : i == 7 ? "-" : " ");
}

/* The line that only disks with 4 KiB sectors have. */
static const char *
sector_size_lines (const struct creation *c, char buf[128])
{
  *buf = '\0';
  if (c->has_sector_sizes && c->params->logicalSectorSize == 4096)
    strcat (buf, "ddb.logicalSectorSize = \"4096\"\n");
  if (c->has_sector_sizes && c->params->physicalSectorSize == 4096)
    strcat (buf, "ddb.physicalSectorSize = \"4096\"\n");
  return buf;
}

/* The disk database of a disk without parent, but for longContentID. */
static void
write_database (FILE *f, const struct creation *c, bool thin)
{
  const struct geometry g = default_geometry (c->params->adapterType, c->params->capacity);
  char uuid[48], sizes[128];

  format_uuid (uuid);
  fprintf (f,
           "ddb.adapterType = \"%s\"\n"
           "ddb.geometry.cylinders = \"%llu\"\n"
           "ddb.geometry.heads = \"%u\"\n"
           "ddb.geometry.sectors = \"%u\"\n"
           "%s%s"
           "ddb.uuid = \"%s\"\n"
           "ddb.virtualHWVersion = \"%u\"\n",
           adapter_name (c->params->adapterType), (unsigned long long) g.cylinders, g.heads, g.sectors,
           sector_size_lines (c, sizes), thin ? "ddb.thinProvisioned = \"1\"\n" : "", uuid,
           c->params->hwVersion ? c->params->hwVersion : VIXDISKLIB_HWVERSION_CURRENT);
}

static void
write_header (FILE *f, const struct creation *c, const char *create_type, uint32_t cid)
{
  fprintf (f,
           "# Disk DescriptorFile\n"
           "version=1\n"
           "encoding=\"UTF-8\"\n"
           "CID=%08x\n"
           "parentCID=%08x\n"
           "createType=\"%s\"\n",
           cid, c->parent ? c->parent->cid : CID_NONE, create_type);
  if (c->parent)
    fprintf (f, "parentFileNameHint=\"%s\"\n", c->parent->hint);
}

char *
create_descriptor (const struct creation *c, const char *create_type, const char *extents, bool thin, size_t *len)
{
  const uint32_t cid = random_cid ();
  char *text = NULL;
  FILE *f = open_memstream (&text, len);

  if (!f)
    return NULL;
  write_header (f, c, create_type, cid);
  fprintf (f, "\n# Extent description\n%s\n# The Disk Data Base \n#DDB\n\n", extents);
  /* First, so that it shares a sector with the CID in most disks: one write changes both. */
  fprintf (f, "ddb.longContentID = \"%08x%08x%08x%08x\"\n", random_cid (), random_cid (), random_cid (), cid);
  if (c->parent)
    fputs (c->parent->ddb, f);
  else
    write_database (f, c, thin);
  if (fclose (f) == 0)
    return text;
  free (text);
  return NULL;
}
