#!/bin/bash
# build.sh OUTDIR: builds OUTDIR/tree, the machine of the systemd lab: an ordinary Debian 12 with systemd, a user's tools
# and what `deploy/install.sh host` lists, and nothing of Karri. What is there already and was built from the same
# script and package versions stays.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

[ $# = 1 ] || { echo "usage: build.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
for tool in apt-cache mmdebstrap; do
    command -v $tool >/dev/null || { echo "lab: $tool is missing; deploy/install.sh test installs it" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "lab: the systemd lab needs root (namespaces, and the owners of its files)" >&2; exit 1; }

mapfile -t host < <("$root/deploy/install.sh" host --list | awk '/^ / { print $1 }')
packages=(systemd-sysv udev dbus libpam-systemd procps awscli openssh-client "${host[@]}")
built_from=$({
    cat "$here/build.sh"
    apt-cache show --no-all-versions "${packages[@]}" | grep -E '^(Package|Version):'
} | sha256sum)
if [ "$(cat "$out/built-from" 2>/dev/null)" = "$built_from" ]; then exit 0; fi
rm -f "$out/built-from"

work=$(mktemp -d "${TMPDIR:-/tmp}/karri-lab.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/etc/{default,systemd/system}
echo LANG=C.UTF-8 >"$work/etc/default/locale"
printf '127.0.0.1 localhost\n198.18.99.1 cloud\n198.18.99.2 node\n' >"$work/etc/hosts"
# Nothing of this has a task in the minutes that the machine lives.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer logrotate.timer systemd-pstore.service; do
    ln -s /dev/null "$work/etc/systemd/system/$unit"
done

include=$(IFS=,; echo "${packages[*]}")
rm -rf "$out/tree"
# A container's groups of processes are not libvirt's to limit.
# The hooks run in the tree's place: what they call $1 is their own to expand.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='Apt::Install-Recommends "false"' \
    --customize-hook="sync-in '$work' /" \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname"' \
    --customize-hook='echo "cgroup_controllers = [ ]" >>"$1/etc/libvirt/qemu.conf"' \
    bookworm "$out/tree"
echo "$built_from" >"$out/built-from"
