#!/bin/bash
# install.sh [ROOT]: puts what was built in the places of an installed system: programs, service units, guides and,
# if it was built, the demo image. ROOT, / unless told otherwise, is for packages and for machines that are only
# being put together. The last line is what remains to be done. Nothing is enabled and nothing is started.
#
# KARRI_BIN=DIR: the programs are there, and not in target/release.
set -euo pipefail
umask 022

case ${1:-} in -*) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;; esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
root=${1:-/}
root=${root%/}
built=${KARRI_BIN:-$here/target/release}
images=$here/target/images

for program in karri karri-clc karri-cc karri-nc karri-walrus; do
    [ -x "$built/$program" ] || { echo "install.sh: $built/$program is missing; make build makes it" >&2; exit 1; }
done
[ -w "${root:-/}" ] || { echo "install.sh: ${root:-/} is not yours to write to; as root, it is" >&2; exit 1; }

for program in karri karri-clc karri-cc karri-nc karri-walrus; do
    install -D -m 755 "$built/$program" "$root/usr/bin/$program"
done
for unit in karri karri-nc; do
    install -D -m 644 "$here/deploy/systemd/$unit.service" "$root/lib/systemd/system/$unit.service"
done
for guide in "$here"/docs/*.md; do
    install -D -m 644 "$guide" "$root/usr/share/doc/karri/$(basename "$guide")"
done
if [ -f "$images/tiny.manifest" ]; then
    for file in "$images"/tiny.*; do
        install -D -m 644 "$file" "$root/usr/share/karri/images/$(basename "$file")"
    done
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
echo "Installed. A cloud of this machine: systemctl enable --now karri. A node: karri node join, then karri-nc (docs/operator-guide.md)"
