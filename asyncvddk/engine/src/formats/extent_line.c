/* The lines of a descriptor that list its extents. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/descriptor_line.h"
#include "base/io.h"

#define INVALID(...) report (VIX_E_DISK_INVALIDDISK, __VA_ARGS__)

static const char *const type_words[] = {
  [EXTENT_SPARSE] = "SPARSE",         [EXTENT_FLAT] = "FLAT",         [EXTENT_ZERO] = "ZERO", [EXTENT_VMFS] = "VMFS",
  [EXTENT_VMFSSPARSE] = "VMFSSPARSE", [EXTENT_SESPARSE] = "SESPARSE",
};

/* A decimal number of at most max; false on anything else, sign and blanks included. */
static bool
parse_decimal (const char *text, uint64_t max, uint64_t *value)
{
  *value = 0;
  if (!isdigit ((unsigned char) *text))
    return false;
  for (; isdigit ((unsigned char) *text); ++text) {
    if (*value > (max - (uint64_t) (*text - '0')) / 10)
      return false;
    *value = *value * 10 + (uint64_t) (*text - '0');
  }
  return *text == '\0';
}

/* The next word of an extent line, cut out of it; NULL at the end.  Quotes may hold blanks; *bad on an open quote. */
static char *
next_word (char **cursor, bool *bad)
{
  char *word = *cursor + strspn (*cursor, " \t");
  char *end;

  if (*word == '\0')
    return NULL;
  if (*word == '"') {
    end = strchr (++word, '"');
    *bad = end == NULL || (end[1] != '\0' && !strchr (" \t", end[1]));
    if (*bad)
      return NULL;
  }
  else
    end = word + strcspn (word, " \t");
  *cursor = *end ? end + 1 : end;
  *end = '\0';
  return word;
}

static bool
parse_access (const char *word, enum extent_access *access)
{
  static const char *const words[] = { "RW", "RDONLY", "NOACCESS" };

  for (unsigned i = 0; i < sizeof words / sizeof *words; ++i)
    if (strcasecmp (word, words[i]) == 0) {
      *access = i;
      return true;
    }
  return false;
}

static bool
parse_type (const char *word, enum extent_type *type)
{
  for (unsigned i = 0; i < sizeof type_words / sizeof *type_words; ++i)
    if (strcasecmp (word, type_words[i]) == 0) {
      *type = i;
      return true;
    }
  *type = EXTENT_DEVICE;
  return strcasecmp (word, "VMFSRDM") == 0 || strcasecmp (word, "VMFSRAW") == 0;
}

bool
is_extent_line (const char *line)
{
  enum extent_access access;
  char word[16];
  size_t len;

  line += strspn (line, " \t");
  len = strcspn (line, " \t");
  if (len >= sizeof word || line[len] == '\0')
    return false;
  memcpy (word, line, len);
  word[len] = '\0';
  return parse_access (word, &access);
}

/* The words behind the type: "FILE" [OFFSET ...]. */
static VixError
parse_backing (const char *where, struct extent_line *e, char **cursor)
{
  bool bad = false;
  char *name, *offset;
  VixError r;

  if (e->type == EXTENT_ZERO)
    return VIX_OK;
  name = next_word (cursor, &bad);
  if (!name)
    return INVALID ("%s: line %zu: extent %s file name", where, e->line,
                    bad ? "line has an open quote after its" : "line lacks its");
  e->file = strdup (name);
  if (!e->file)
    return report_no_memory ();
  r = check_plain_name (where, e->file);
  if (r != VIX_OK)
    return r;
  offset = next_word (cursor, &bad);
  if (bad || (offset && !parse_decimal (offset, MAX_SECTORS, &e->offset)))
    return INVALID ("%s: line %zu: offset of the extent must be a number of sectors from 0 to 2^40", where, e->line);
  e->has_offset = offset != NULL;
  return VIX_OK;
}

/* ACCESS SECTORS TYPE ["FILE" [OFFSET [PARTUUID [DEVID]]]]; text is cut into words. */
static VixError
parse_extent_words (const char *where, struct extent_line *e, char *text)
{
  bool bad = false;
  char *access = next_word (&text, &bad), *sectors = next_word (&text, &bad), *type = next_word (&text, &bad);

  if (!access || !parse_access (access, &e->access))
    return INVALID ("%s: line %zu: access must be RW, RDONLY or NOACCESS", where, e->line);
  if (!sectors || !parse_decimal (sectors, MAX_SECTORS, &e->sectors) || e->sectors == 0)
    return INVALID ("%s: line %zu: size of the extent must be a number of sectors from 1 to 2^40", where, e->line);
  if (!type || !parse_type (type, &e->type))
    return INVALID ("%s: line %zu: unknown type of extent", where, e->line);
  return parse_backing (where, e, &text);
}

VixError
extent_line_parse (struct descriptor *d, size_t number, const char *line)
{
  CLEANUP_FREE char *text = strdup (line);
  struct extent_line *extents;

  if (d->n_extents == DESCRIPTOR_MAX_EXTENTS)
    return INVALID ("%s: line %zu: more than %u extents", d->where, number, DESCRIPTOR_MAX_EXTENTS);
  extents = text ? reallocarray (d->extents, d->n_extents + 1, sizeof *extents) : NULL;
  if (!extents)
    return report_no_memory ();
  d->extents = extents;
  memset (&extents[d->n_extents], 0, sizeof *extents);
  extents[d->n_extents].line = number;
  ++d->n_extents;
  return parse_extent_words (d->where, &extents[d->n_extents - 1], text);
}
