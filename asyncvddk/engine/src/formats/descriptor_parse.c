/* Meaning and sanity of a descriptor's lines; those of extents have their own file. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/descriptor.h"
#include "formats/descriptor_line.h"
#include "base/io.h"

#define INVALID(...) report (VIX_E_DISK_INVALIDDISK, __VA_ARGS__)

/* A descriptor being read: where it comes from, and which of the keys that may stand once were seen. */
struct parser {
  struct descriptor *d;
  size_t line; /* 1-based */
  bool version, cid, parent_cid;
};

#define BIT(type) (1u << (type))
#define ANY_TYPE (BIT (EXTENT_TYPES) - 1)

/* What a createType promises of its extents. */
static const struct disk_type {
  const char *name;
  unsigned types; /* bits of enum extent_type */
  bool single;
} disk_types[] = {
  { "monolithicSparse", BIT (EXTENT_SPARSE), true },
  { "streamOptimized", BIT (EXTENT_SPARSE), true },
  { "monolithicFlat", BIT (EXTENT_FLAT), true },
  { "twoGbMaxExtentSparse", BIT (EXTENT_SPARSE) | BIT (EXTENT_ZERO), false },
  { "2GbMaxExtentSparse", BIT (EXTENT_SPARSE) | BIT (EXTENT_ZERO), false },
  { "twoGbMaxExtentFlat", BIT (EXTENT_FLAT) | BIT (EXTENT_ZERO), false },
  { "2GbMaxExtentFlat", BIT (EXTENT_FLAT) | BIT (EXTENT_ZERO), false },
  { "vmfs", BIT (EXTENT_VMFS) | BIT (EXTENT_FLAT), false },
  { "vmfsThin", BIT (EXTENT_VMFS) | BIT (EXTENT_FLAT), false },
  { "vmfsPreallocated", BIT (EXTENT_VMFS) | BIT (EXTENT_FLAT), false },
  { "vmfsEagerZeroedThick", BIT (EXTENT_VMFS) | BIT (EXTENT_FLAT), false },
  { "vmfsSparse", BIT (EXTENT_VMFSSPARSE), false },
  { "seSparse", BIT (EXTENT_SESPARSE), false },
  { "vmfsSeSparse", BIT (EXTENT_SESPARSE), false },
  { "custom", ANY_TYPE, false },
  { "fullDevice", ANY_TYPE, false },
  { "partitionedDevice", ANY_TYPE, false },
};

/* One to eight hexadecimal digits. */
static bool
parse_cid (const char *text, uint32_t *cid)
{
  size_t len = strspn (text, "0123456789abcdefABCDEF");

  *cid = (uint32_t) strtoul (text, NULL, 16);
  return len >= 1 && len <= 8 && text[len] == '\0';
}

/* A key that may stand once; value is taken over. */
static VixError
take_string (struct parser *p, const char *key, char *value, char **slot)
{
  if (*slot) {
    free (value);
    return INVALID ("%s: line %zu: %s stands twice", p->d->where, p->line, key);
  }
  *slot = value;
  return VIX_OK;
}

static VixError
take_cid (struct parser *p, const char *key, const char *value, bool *seen, uint32_t *cid)
{
  if (*seen)
    return INVALID ("%s: line %zu: %s stands twice", p->d->where, p->line, key);
  if (!parse_cid (value, cid))
    return INVALID ("%s: line %zu: %s must be 1 to 8 hexadecimal digits", p->d->where, p->line, key);
  *seen = true;
  return VIX_OK;
}

static VixError
take_version (struct parser *p, const char *value)
{
  uint64_t version;

  if (p->version || !isdigit ((unsigned char) *value))
    return INVALID ("%s: line %zu: version %s", p->d->where, p->line, p->version ? "stands twice" : "is no number");
  version = strtoull (value, NULL, 10);
  if (version == 0)
    return INVALID ("%s: line %zu: version 0, expected 1 to 3", p->d->where, p->line);
  if (version > 3)
    return report (VIX_E_DISK_UNSUPPORTEDDISKVERSION, "%s: line %zu: descriptor version %llu, known are 1 to 3",
                   p->d->where, p->line, (unsigned long long) version);
  p->version = true;
  return VIX_OK;
}

static VixError
parse_assignment (struct parser *p, const struct line_parts *parts)
{
  struct descriptor *d = p->d;
  char *value;
  VixError r;

  if (parts->value_len > 0 && parts->value[0] == '"'
      && (parts->value_len < 2 || parts->value[parts->value_len - 1] != '"'))
    return INVALID ("%s: line %zu: quote is not closed", d->where, p->line);
  value = line_value (parts);
  if (!value)
    return report_no_memory ();
  if (line_has_key (parts, "createType"))
    return take_string (p, "createType", value, &d->create_type);
  if (line_has_key (parts, "parentFileNameHint"))
    return take_string (p, "parentFileNameHint", value, &d->parent_hint);
  r = VIX_OK;
  if (line_has_key (parts, "CID"))
    r = take_cid (p, "CID", value, &p->cid, &d->cid);
  else if (line_has_key (parts, "parentCID"))
    r = take_cid (p, "parentCID", value, &p->parent_cid, &d->parent_cid);
  else if (line_has_key (parts, "version"))
    r = take_version (p, value);
  free (value);
  return r;
}

static VixError
parse_line (struct parser *p, const char *line)
{
  const char *text = line + strspn (line, " \t");
  struct line_parts parts;

  for (const char *c = line; *c; ++c)
    if ((unsigned char) *c < 0x20 && *c != '\t')
      return INVALID ("%s: line %zu: control character 0x%02x; this is no descriptor of a virtual disk", p->d->where,
                      p->line, *c);
  if (*text == '\0' || *text == '#')
    return VIX_OK;
  if (is_extent_line (line))
    return extent_line_parse (p->d, p->line, line);
  if (!line_split (line, &parts))
    return INVALID ("%s: line %zu: neither an extent nor \"key = value\"; this is no descriptor of a virtual disk",
                    p->d->where, p->line);
  if (!p->version && !line_has_key (&parts, "version"))
    return INVALID ("%s: line %zu: the first key must be version; this is no descriptor of a virtual disk", p->d->where,
                    p->line);
  return parse_assignment (p, &parts);
}

static VixError
check_types (const struct descriptor *d)
{
  const struct disk_type *type = disk_types;
  const struct disk_type *end = disk_types + sizeof disk_types / sizeof *disk_types;

  while (type < end && strcasecmp (type->name, d->create_type) != 0)
    ++type;
  if (type == end)
    return report (VIX_E_DISK_NOTSUPPORTED, "%s: createType \"%s\" is not supported", d->where, d->create_type);
  for (size_t i = 0; i < d->n_extents; ++i)
    if (!(type->types & BIT (d->extents[i].type)))
      return INVALID ("%s: line %zu: type of the extent contradicts createType \"%s\"", d->where, d->extents[i].line,
                      d->create_type);
  if (type->single && d->n_extents != 1)
    return INVALID ("%s: createType \"%s\" has one extent, %zu are listed", d->where, d->create_type, d->n_extents);
  return VIX_OK;
}

static VixError
check_whole (const struct parser *p)
{
  struct descriptor *d = p->d;

  if (!p->version || !p->cid || !d->create_type)
    return INVALID ("%s: descriptor lacks its %s line", d->where,
                    !p->version ? "version"
                    : !p->cid   ? "CID"
                                : "createType");
  if (d->n_extents == 0)
    return INVALID ("%s: descriptor lists no extent", d->where);
  for (size_t i = 0; i < d->n_extents; ++i)
    d->capacity += d->extents[i].sectors;
  if (d->capacity > MAX_SECTORS)
    return INVALID ("%s: extents add up to more than 2^40 sectors", d->where);
  return check_types (d);
}

/* Length of the text in a buffer that NULs may follow.  A NUL inside a line is no padding. */
static VixError
text_length (const char *where, const char *text, size_t *len)
{
  const char *nul = memchr (text, '\0', *len);

  if (nul && nul > text && nul[-1] != '\n')
    for (const char *c = nul; c < text + *len; ++c)
      if (*c != '\0')
        return INVALID ("%s: NUL character inside a line; this is no descriptor of a virtual disk", where);
  if (nul)
    *len = (size_t) (nul - text);
  return VIX_OK;
}

/* Cuts the text into d->lines, without line ends. */
static VixError
split_lines (struct descriptor *d, const char *text, size_t len)
{
  const char *end = text + len;
  size_t room = 1;

  for (const char *c = text; c < end; ++c)
    room += *c == '\n';
  d->lines = calloc (room, sizeof *d->lines);
  if (!d->lines)
    return report_no_memory ();
  while (text < end) {
    const char *stop = memchr (text, '\n', (size_t) (end - text));
    size_t n = (size_t) ((stop ? stop : end) - text);

    d->lines[d->n_lines] = strndup (text, n > 0 && text[n - 1] == '\r' ? n - 1 : n);
    if (!d->lines[d->n_lines])
      return report_no_memory ();
    ++d->n_lines;
    text += n + 1;
  }
  return VIX_OK;
}

static VixError
parse_lines (struct descriptor *d, const char *text, size_t len)
{
  struct parser p = { .d = d };
  VixError r = text_length (d->where, text, &len);

  if (r == VIX_OK && len >= 3 && memcmp (text, "\xef\xbb\xbf", 3) == 0) {
    text += 3;
    len -= 3;
  }
  if (r == VIX_OK)
    r = split_lines (d, text, len);
  for (size_t i = 0; r == VIX_OK && i < d->n_lines; ++i) {
    p.line = i + 1;
    r = parse_line (&p, d->lines[i]);
  }
  return r == VIX_OK ? check_whole (&p) : r;
}

VixError
descriptor_parse (const char *where, const char *text, size_t len, struct descriptor **out)
{
  struct descriptor *d = calloc (1, sizeof *d);
  VixError r;

  *out = NULL;
  if (!d)
    return report_no_memory ();
  d->parent_cid = CID_NONE;
  d->where = strdup (where);
  r = d->where ? parse_lines (d, text, len) : report_no_memory ();
  if (r != VIX_OK) {
    descriptor_free (d);
    return r;
  }
  *out = d;
  return VIX_OK;
}
