#!/bin/bash
# build.sh OUTDIR: builds OUTDIR/tree, the machine of the ceph lab: a Debian 12 with Ceph's daemons and nothing of Karri.
# Nothing is installed on this machine. What is there already and was built from the same script and package versions
# stays.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

[ $# = 1 ] || { echo "usage: build.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for tool in apt-cache mmdebstrap; do
    command -v $tool >/dev/null || { echo "lab: $tool is missing; deploy/install.sh test installs it" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "lab: the ceph lab needs root (namespaces, and a tree to run daemons in)" >&2; exit 1; }

packages=(
    ceph-mon    # who is in the cluster: what every other daemon asks first
    ceph-osd    # keeps the bytes: one, on a file
    ceph-mgr    # what Ceph tells of itself, and how full it is
    radosgw     # S3 before it, and radosgw-admin, which makes its user
    ceph-common # ceph: pools, the cluster's state
)
built_from=$({
    cat "$here/build.sh"
    apt-cache show --no-all-versions "${packages[@]}" | grep -E '^(Package|Version):'
} | sha256sum)
if [ "$(cat "$out/built-from" 2>/dev/null)" = "$built_from" ]; then exit 0; fi
rm -f "$out/built-from"

include=$(IFS=,; echo "${packages[*]}")
rm -rf "$out/tree"
mmdebstrap --quiet --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='Apt::Install-Recommends "false"' \
    bookworm "$out/tree"
echo "$built_from" >"$out/built-from"
