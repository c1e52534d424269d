#!/bin/sh
# How do I back up disks, and get them back?
#
# Shows each command, then runs it, in the new folder "example": two disks are made, backed up, changed, backed up
# again; the backups are listed, checked, and one disk is restored as it was and compared.
set -eu

show() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
}
run() {
    show "asyncvddk $*"
    asyncvddk "$@"
}

mkdir example || { echo "remove the folder example, then run this again" >&2; exit 1; }
cd example
export ASYNCVDDK_REPOSITORY=backups            # or s3://bucket/prefix
export ASYNCVDDK_PASSWORD="only for this example"  # for your own: --password-file

run create web.vmdk --size 256M --example
run create mail.vmdk --size 128M --example
run init
run backup web.vmdk mail.vmdk --source office

show "echo 'a changed page' | asyncvddk write web.vmdk --offset 100M"
echo 'a changed page' | asyncvddk write web.vmdk --offset 100M
run backup web.vmdk mail.vmdk --source office

run snapshots
first=$(asyncvddk snapshots --json | sed -n '1s/.*"id": "\([0-9a-f]*\)".*/\1/p')
run diff "$first" latest
run verify

run restore latest web.vmdk --to restored.vmdk
run compare restored.vmdk web.vmdk
run restore "$first" web.vmdk --to before.raw
show "asyncvddk compare before.raw web.vmdk"
asyncvddk compare before.raw web.vmdk || echo "(and so it should: before.raw is web.vmdk before it was changed)"
