/* The keys of the configuration file: those that VDDK's documentation names, in both spellings where sources differ, and
 * ours.  What they mean stands in config.h. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/config.h"

enum kind { TEXT, NUMBER, SWITCH, PREFIX /* text; the rest of the key is free */ };

static const struct known {
  const char *key;
  enum kind kind;
} known[] = {
  { "tmpDirectory", TEXT },
  { "log.fileName", TEXT },
  { "log.fileLevel", NUMBER },
  { "vixDiskLib.transport.LogLevel", NUMBER },
  { "vixDiskLib.nfc.LogLevel", NUMBER },
  { "vixDiskLib.nfc.AcceptTimeoutMs", NUMBER },
  { "vixDiskLib.nfc.RequestTimeoutMs", NUMBER },
  { "vixDiskLib.nfc.ReadTimeoutMs", NUMBER },
  { "vixDiskLib.nfc.ReadTimeoutsMs", NUMBER },
  { "vixDiskLib.nfc.WriteTimeoutMs", NUMBER },
  { "vixDiskLib.nfc.WriteTimeoutsMs", NUMBER },
  { "vixDiskLib.nfcFssrvr.TimeoutMs", NUMBER },
  { "vixDiskLib.nfcFssrvrWrite.TimeoutMs", NUMBER },
  { "vixDiskLib.nfcAio.Session.BufSizeIn64KB", NUMBER },
  { "vixDiskLib.nfcAio.Session.BufSizeIN64K", NUMBER },
  { "vixDiskLib.nfcAio.Session.BufCount", NUMBER },
  { "vixDiskLib.disklib.EnableCache", SWITCH },
  { "vixDiskLib.linuxSSL.verifyCertificates", SWITCH },
  { "vixDiskLib.ssl.enableSslFIPS", SWITCH },
  { "vixDiskLib.phoneHome.EnablePhoneHome", SWITCH },
  { "vixDiskLib.phoneHome.ProductName", TEXT },
  { "vixDiskLib.phoneHome.ProductVersion", TEXT },
  { "vixDiskLib.transport.hotadd.NoNfcSession", SWITCH },
  { "vixDiskLib.transport.san.blacklist", TEXT },
  { "vixDiskLib.transport.san.whitelist", TEXT },
  { "vixDiskLib.transport.san.denyList", TEXT },
  { "vixDiskLib.transport.san.allowList", TEXT },
  { "vixMntapi.cfg.LogLevel", NUMBER },
  { "openEngine.async", SWITCH },
  { "openEngine.bandwidth", NUMBER },
  { "openEngine.checkThreads", TEXT },
  { "openEngine.compactStepBytes", NUMBER },
  { "openEngine.cookie", TEXT },
  { "openEngine.datastore.", PREFIX },
  { "openEngine.fail", TEXT },
  { "openEngine.fcd.", PREFIX },
  { "openEngine.grainTableCacheBytes", NUMBER },
  { "openEngine.hang", TEXT },
  { "openEngine.latencyMs", NUMBER },
  { "openEngine.parentRoots", TEXT },
  { "openEngine.password", TEXT },
  { "openEngine.queryTail", SWITCH },
  { "openEngine.server", TEXT },
  { "openEngine.snapshot", TEXT },
  { "openEngine.threads", NUMBER },
  { "openEngine.thumbPrint", TEXT },
  { "openEngine.user", TEXT },
  { "openEngine.vm", TEXT },
};

static const struct known *
find (const char *key)
{
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    const size_t length = strlen (known[i].key);

    if (known[i].kind == PREFIX ? strncasecmp (known[i].key, key, length) == 0 && key[length] != '\0'
                                : strcasecmp (known[i].key, key) == 0)
      return &known[i];
  }
  return NULL;
}

static bool
is_number (const char *value)
{
  return value[0] != '\0' && value[strspn (value, "0123456789")] == '\0';
}

const char *
config_complaint (const char *key, const char *value, bool *wrong)
{
  const struct known *found = find (key);

  *wrong = found != NULL;
  if (found == NULL)
    return "is not a key that this library knows";
  /* Ours are judged where they are used, with their range. */
  if (strncasecmp (key, "openEngine.", 11) == 0 || found->kind == TEXT)
    return NULL;
  if (found->kind == NUMBER && !is_number (value))
    return "expected a number; the default is used";
  if (found->kind == SWITCH && strcmp (value, "0") != 0 && strcmp (value, "1") != 0 && strcasecmp (value, "true") != 0
      && strcasecmp (value, "false") != 0)
    return "expected 0 or 1; the default is used";
  return NULL;
}
