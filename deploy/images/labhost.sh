#!/bin/bash
# labhost.sh OUTDIR: builds `labhost`, a host for network proofs as an emulated machine: Debian's full kernel with what
# there is of networks in it, and the tools that Karri's controllers call. Also its memory once it has booted, from which it
# is there again in a second.
#
#   labhost.vmlinuz, labhost.initrd   kernel, and everything else as a ramdisk
#   labhost.memory                    taken by the QEMU that labhost.qemu tells; another one boots it instead
#   labhost.manifest                  name, bytes and sha256 of kernel and ramdisk
#
# Needs no root. Packages come by `apt-get download`, of whatever version apt knows; KARRI_DEBS=DIR keeps them for the next
# build.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

[ $# = 1 ] || { echo "usage: labhost.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/karri-labhost.XXXXXX")
trap 'rm -rf "$work"' EXIT

for tool in apt-get apt-cache dpkg-deb cpio gzip python3 qemu-system-x86_64; do
    command -v $tool >/dev/null || { echo "labhost.sh: $tool is missing; deploy/install.sh test installs it" >&2; exit 1; }
done

# ---- packages -------------------------------------------------------------------------------------------
debs=${KARRI_DEBS:-$work/debs}
mkdir -p "$debs"
debs=$(cd "$debs" && pwd)
kernel_package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
[ -n "$kernel_package" ] || { echo "labhost.sh: apt knows no linux-image-amd64; try apt-get update" >&2; exit 1; }
python=$(apt-cache depends python3-minimal | awk '/Depends: python3\.[0-9]+-minimal/ { sub("-minimal", "", $2); print $2; exit }')
wanted=(busybox-static dash iproute2 iptables ipset conntrack dnsmasq-base libgcc-s1 "$python-minimal" "lib$python-stdlib")
depends=(--recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances)
mapfile -t packages < <(apt-cache depends "${depends[@]}" "${wanted[@]}" | grep '^[a-z0-9]' | sort -u)
apt-cache show --no-all-versions "$kernel_package" "${packages[@]}" 2>/dev/null |
    awk '/^Package:/ { p = $2 } /^Version:/ { v = $2 } /^Architecture:/ { a = $2 } /^$/ { print p, v, a }
        END { print p, v, a }' | sort -u >"$work/versions"
missing=()
while read -r p version architecture; do
    deb=$debs/${p}_${version//:/%3a}_$architecture.deb
    printf '%s\n' "$deb" >>"$work/files"
    [ -f "$deb" ] || missing+=("$p")
done <"$work/versions"
if [ ${#missing[@]} -gt 0 ]; then
    (cd "$debs" && apt-get -q download "${missing[@]}" >"$work/apt.log" 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
fi
while read -r deb; do
    [ -f "$deb" ] || { echo "labhost.sh: apt-get download did not give $(basename "$deb")" >&2; exit 1; }
    dpkg-deb -x "$deb" "$work/debian"
done <"$work/files"
deb=$work/debian
version=$(basename "$deb"/lib/modules/*)

# ---- what is in it --------------------------------------------------------------------------------------
root=$work/root
libraries=$root/usr/lib/x86_64-linux-gnu
mkdir -p "$root"/{bin,dev,etc,lib64,lib,mnt,proc,programs,root,run,sys,tmp,usr/bin,var/lib/misc} "$libraries/xtables"
ln -s bin "$root/sbin"
ln -s ../bin "$root/usr/sbin"
ln -s ../run "$root/var/run"
ln -s ../usr/lib/x86_64-linux-gnu "$root/lib/x86_64-linux-gnu"
cp "$deb/bin/busybox" "$root/bin/"
for applet in $("$deb/bin/busybox" --list); do
    case $applet in busybox | ip | sh | rpm | dpkg | dpkg-deb) continue ;; esac
    ln -s busybox "$root/bin/$applet"
done
# A program and the libraries that it names, all from the packages above.
loader=$deb/lib64/ld-linux-x86-64.so.2
[ -e "$loader" ] || loader=$deb/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
cp -L "$loader" "$root/lib64/ld-linux-x86-64.so.2"
places=$deb/lib/x86_64-linux-gnu:$deb/usr/lib/x86_64-linux-gnu
add_libraries() { # FILE
    "$loader" --library-path "$places" --list "$1" | sed -n 's/.* => \(\/.*\) (0x.*/\1/p' | while read -r library; do
        case $library in
            "$deb"/*) cp -Lu "$library" "$libraries/" ;;
            *) echo "labhost.sh: $1 needs $library, of a package that is not listed" >&2; exit 1 ;;
        esac
    done
}
add_program() { # FILE NAME
    rm -f "$root/bin/$2"
    cp -L "$1" "$root/bin/$2"
    add_libraries "$1"
}
add_program "$deb/bin/dash" sh      # busybox' own would rather call itself than other programs
add_program "$deb/bin/ip" ip
add_program "$deb/sbin/bridge" bridge
add_program "$deb/bin/ss" ss
add_program "$deb/usr/sbin/ipset" ipset
add_program "$deb/usr/sbin/conntrack" conntrack
add_program "$deb/usr/sbin/dnsmasq" dnsmasq
add_program "$deb/usr/bin/$python" python3
add_program "$deb/usr/sbin/xtables-nft-multi" xtables-nft-multi
for name in iptables iptables-save iptables-restore ip6tables ebtables ebtables-save ebtables-restore; do
    ln -s xtables-nft-multi "$root/bin/$name"
done
cp "$deb/usr/lib/x86_64-linux-gnu/xtables"/*.so "$libraries/xtables/"
for library in "$deb"/lib/x86_64-linux-gnu/libnss_files.so.2 "$deb"/lib/x86_64-linux-gnu/libgcc_s.so.1; do
    cp -L "$library" "$libraries/"
done
cp -r "$deb/usr/lib/$python" "$root/usr/lib/"
rm -rf "$root/usr/lib/$python"/{ensurepip,idlelib,lib2to3,pydoc_data,test,tkinter,turtledemo,unittest,distutils}
for library in "$root/usr/lib/$python"/lib-dynload/*.so; do
    case $library in */_ssl.* | */_socket.* | */select.* | */_json.* | */_struct.* | */math.*) add_libraries "$library" ;; esac
done
cp "$deb/etc/ethertypes" "$deb/etc/protocols" "$deb/etc/services" "$root/etc/" 2>/dev/null || true
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\ndnsmasq:x:999:65534::/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\ndip:x:30:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
install -m 755 "$here/labhost/init" "$root/init"
install -m 755 "$here/labhost/agent.py" "$root/bin/agent"

# All of networks, and the devices of the machine.
source=$deb/lib/modules/$version
target=$root/lib/modules/$version
mkdir -p "$target"
cp "$source"/modules.{builtin,builtin.modinfo,order} "$target/"
for part in net/8021q net/802 net/bridge net/llc net/core net/netfilter net/ipv4 net/ipv6 net/sched net/dns_resolver lib \
    drivers/net/veth.ko drivers/net/vxlan drivers/net/dummy.ko drivers/net/tun.ko drivers/net/virtio_net.ko \
    drivers/net/net_failover.ko drivers/virtio drivers/block/virtio_blk.ko drivers/char/virtio_console.ko drivers/virt/vmgenid.ko \
    crypto/crc32c_generic.ko arch/x86/crypto/crc32c-intel.ko; do
    [ -e "$source/kernel/$part" ] || continue       # built in
    mkdir -p "$target/kernel/$(dirname $part)"
    cp -r "$source/kernel/$part" "$target/kernel/$part"
done
rm -rf "$target/kernel/net/netfilter/ipvs"
"$deb/bin/busybox" depmod -b "$root" "$version" 2>/dev/null
(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --reproducible --quiet) | gzip -1n >"$work/labhost.initrd"
cp "$deb/boot/vmlinuz-$version" "$work/labhost.vmlinuz"

# ---- its memory, and hand over: each file complete, the manifest last -----------------------------------
rm -f "$out"/labhost.{manifest,memory,qemu}
for f in labhost.vmlinuz labhost.initrd; do
    cp "$work/$f" "$out/.$f.new"
    mv "$out/.$f.new" "$out/$f"
    printf '%s %s %s\n' "$f" "$(stat -c %s "$out/$f")" "$(sha256sum <"$out/$f" | cut -d' ' -f1)" >>"$work/labhost.manifest"
done
python3 "$here/labhost/labhost.py" memory "$out"
cp "$work/labhost.manifest" "$out/labhost.manifest"
cat "$out/labhost.manifest"
