#!/bin/bash
# build.sh OUTDIR: builds the Xen machine of the lab from Debian packages: the hypervisor, dom0's kernel and
# ramdisk, and dom0's disk with libvirt's libxl driver and all that karri-nc calls. Nothing is installed on
# this machine. What is there already and was built from the same scripts and package versions stays.
#
#   xen, vmlinuz, initrd, dom0.ext4     what run.sh gives to QEMU
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

[ $# = 1 ] || { echo "usage: build.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for tool in apt-get apt-cache dpkg-deb mmdebstrap mke2fs cpio gzip; do
    command -v $tool >/dev/null || { echo "lab: $tool is missing; deploy/install.sh test installs it" >&2; exit 1; }
done

kernel_package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
xen_package=xen-hypervisor-4.17-amd64
[ -n "$kernel_package" ] || { echo "lab: apt knows no linux-image-amd64; try apt-get update" >&2; exit 1; }
packages=(
    xen-utils-4.17 xenstore-utils               # xenstored, xenconsoled, xl, the hotplug scripts
    qemu-system-xen                             # serves qcow2 disks to guests (qdisk)
    libvirt-daemon libvirt-daemon-driver-xen    # xen:///system
    libvirt-clients                             # virsh, for proofs that do without Karri
    qemu-utils iproute2 iptables ipset          # what karri-nc calls
    dnsmasq-base                                # DHCP, in place of the cluster controller's
    kmod procps netbase busybox-static
)
built_from=$({
    cat "$here"/{build.sh,dom0-init,initrd-init}
    apt-cache show --no-all-versions "$kernel_package" $xen_package "${packages[@]}" | grep -E '^(Package|Version):'
} | sha256sum)
if [ "$(cat "$out/built-from" 2>/dev/null)" = "$built_from" ]; then exit 0; fi
rm -f "$out/built-from"

work=$(mktemp -d "${TMPDIR:-/tmp}/karri-lab.XXXXXX")
trap 'rm -rf "$work"' EXIT
as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v fakeroot >/dev/null || { echo "lab: not root, and fakeroot is missing" >&2; exit 1; }
    as_root=(fakeroot -s "$work/owners" -i "$work/owners")
    : >"$work/owners"
fi

# ---- hypervisor and kernel -----------------------------------------------------------------------------------
mkdir "$work/debs" "$work/boot"
for p in $kernel_package $xen_package; do
    (cd "$work/debs" && apt-get -q download "$p" >"$work/apt.log" 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
done
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/boot"; done
gzip -dc "$work/boot/boot/xen-4.17-amd64.gz" >"$out/xen"      # QEMU's multiboot loader wants it unpacked
version=$(basename "$work"/boot/lib/modules/*)
cp "$work/boot/boot/vmlinuz-$version" "$out/vmlinuz"

# The modules that dom0 may ask for: a tenth of all.
# Under /usr: where /sbin and /lib are links in the tree, they must stay links.
modules=$work/files/usr/lib/modules/$version
source=$work/boot/lib/modules/$version
mkdir -p "$modules"
cp "$source"/modules.{builtin,builtin.modinfo,order} "$modules/"
wanted=(fs/ext4 fs/jbd2 fs/mbcache.ko drivers/xen drivers/virtio drivers/block/{virtio_blk,loop}.ko
    drivers/block/xen-blkback drivers/char/virtio_console.ko drivers/net/{tun,veth}.ko drivers/net/xen-netback
    net/802 net/llc net/bridge net/netfilter net/ipv4 net/ipv6 crypto lib arch/x86/crypto)
for m in "${wanted[@]}"; do
    [ -e "$source/kernel/$m" ] || continue      # built in
    mkdir -p "$modules/kernel/$(dirname "$m")"
    cp -r "$source/kernel/$m" "$modules/kernel/$(dirname "$m")/"
done

# ---- dom0's disk -----------------------------------------------------------------------------------------------
files=$work/files
mkdir -p "$files"/{usr/sbin,etc/libvirt}
install -m 755 "$here/dom0-init" "$files/usr/sbin/lab-init"
echo dom0 >"$files/etc/hostname"
echo '127.0.0.1 localhost dom0' >"$files/etc/hosts"
cat >"$files/etc/libvirt/libvirtd.conf" <<'END'
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
END
include=$(IFS=,; echo "${packages[*]}")
# Emulated processors lack the feature `vme`, which libvirt takes for granted in its oldest CPU model; without
# the last hook its libxl driver finds no model at all for dom0 and does not start.
# The hooks run in the tree's place: what they call $1 is theirs to expand.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='Apt::Install-Recommends "false"' \
    --customize-hook="sync-in '$files' /" \
    --customize-hook="chroot \"\$1\" depmod $version" \
    --customize-hook='rm -f "$1"/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so' \
    --customize-hook='sed -i "/name=.vme./d" "$1/usr/share/libvirt/cpu_map/x86_486.xml"' \
    bookworm "$work/tree.tar"
mkdir "$work/tree"
"${as_root[@]}" tar -xf "$work/tree.tar" -C "$work/tree" --exclude='./dev/*'
truncate -s 1500M "$out/dom0.ext4"
"${as_root[@]}" mke2fs -q -F -t ext4 -O ^has_journal -L lab-dom0 -E nodiscard -d "$work/tree" "$out/dom0.ext4"

# ---- dom0's ramdisk: finds that disk ------------------------------------------------------------------------------
initrd=$work/initrd
mkdir -p "$initrd"/{bin,dev,proc,root,sys,modules}
cp "$work/tree/bin/busybox" "$initrd/bin/"
for applet in sh mount insmod findfs switch_root usleep poweroff; do ln -s busybox "$initrd/bin/$applet"; done
install -m 755 "$here/initrd-init" "$initrd/init"
add_module() { # NAME: after what it depends on
    local file dependency
    file=$(find "$source/kernel" -name "$1.ko" -o -name "${1//_/-}.ko" | head -n 1)
    if [ -z "$file" ] || [ -e "$initrd/modules/$1.ko" ]; then return 0; fi      # built in, or there already
    for dependency in $(grep -az -m 1 '^depends=' "$file" | tr -d '\0' | cut -d= -f2 | tr , ' '); do
        add_module "$dependency"
    done
    cp "$file" "$initrd/modules/$1.ko"
    echo "$1" >>"$initrd/modules/order"
}
for m in virtio_pci virtio_blk crc32c_generic ext4; do add_module $m; done
(cd "$initrd" && find . | sort | cpio -o -H newc -R 0:0 --quiet) | gzip -1n >"$out/initrd"
echo "$built_from" >"$out/built-from"
