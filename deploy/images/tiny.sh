#!/bin/bash
# tiny.sh OUTDIR: builds the demo image `tiny` from Debian packages: the cloud kernel, busybox, dropbear.
#
#   tiny.vmlinuz, tiny.initrd, tiny.root.img   kernel, ramdisk and root file system, apart (aki, ari, ami)
#   tiny.disk.qcow2                            the same as one bootable disk (BIOS, MBR, syslinux)
#   tiny.manifest                              name, bytes and sha256 of each
#
# Needs no root. Packages come by `apt-get download`, of whatever version apt knows; KARRI_DEBS=DIR keeps
# them for the next build. Equal packages give equal files (SOURCE_DATE_EPOCH, default: the kernel's date).
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

[ $# = 1 ] || { echo "usage: tiny.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/karri-tiny.XXXXXX")
trap 'rm -rf "$work"' EXIT

for tool in apt-get apt-cache dpkg-deb mke2fs debugfs cpio gzip sfdisk mformat mcopy syslinux qemu-img; do
    command -v $tool >/dev/null || { echo "tiny.sh: $tool is missing; deploy/install.sh run installs it" >&2; exit 1; }
done
mbr=/usr/lib/syslinux/mbr/mbr.bin
[ -f $mbr ] || { echo "tiny.sh: $mbr is missing; deploy/install.sh run installs it" >&2; exit 1; }

# ---- packages -------------------------------------------------------------------------------------------
debs=${KARRI_DEBS:-$work/debs}
mkdir -p "$debs"
debs=$(cd "$debs" && pwd)
kernel_package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
[ -n "$kernel_package" ] || { echo "tiny.sh: apt knows no linux-image-cloud-amd64; try apt-get update" >&2; exit 1; }
packages=("$kernel_package" busybox-static dropbear-bin e2fsprogs
    libc6 libtomcrypt1 libtommath1 libgmp10 zlib1g libcrypt1 libext2fs2 libcom-err2 libblkid1 libuuid1)
apt-cache show --no-all-versions "${packages[@]}" |
    awk '/^Package:/ { p = $2 } /^Version:/ { print p, $2 }' >"$work/versions"
for p in "${packages[@]}"; do
    version=$(awk -v p="$p" '$1 == p { print $2; exit }' "$work/versions")
    deb=$debs/${p}_${version//:/%3a}_amd64.deb
    if [ ! -f "$deb" ]; then
        # apt's warning that it cannot drop its rights in a private directory says nothing here.
        (cd "$debs" && apt-get -q download "$p" >"$work/apt.log" 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
    fi
    [ -f "$deb" ] || { echo "tiny.sh: apt-get download $p did not give $(basename "$deb")" >&2; exit 1; }
    dpkg-deb -x "$deb" "$work/debian"
done
deb=$work/debian
version=$(basename "$deb"/lib/modules/*)
kernel=$deb/boot/vmlinuz-$version
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$kernel")}
export SOURCE_DATE_EPOCH
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH

# ---- root file system -----------------------------------------------------------------------------------
root=$work/root
mkdir -p "$root"/{bin,dev,etc/{acpi/PWRF,dropbear,udhcpc},lib64,lib/x86_64-linux-gnu,mnt,proc,root/.ssh,run,sys,tmp}
mkdir -p "$root"/{usr,var/{lib/karri,log}}
chmod 1777 "$root/tmp"
chmod 700 "$root/root" "$root/root/.ssh"
ln -s bin "$root/sbin"
ln -s ../bin "$root/usr/bin"
ln -s ../bin "$root/usr/sbin"
ln -s ../run "$root/var/run"
cp "$deb/bin/busybox" "$root/bin/"
for applet in $("$deb/bin/busybox" --list); do
    case $applet in busybox | rpm | dpkg | dpkg-deb | mke2fs | mkdosfs) continue ;; esac
    ln -s busybox "$root/bin/$applet"
done

# A program and the libraries that it names, all from the packages above.
loader=$deb/lib64/ld-linux-x86-64.so.2
[ -e "$loader" ] || loader=$deb/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
cp -L "$loader" "$root/lib64/ld-linux-x86-64.so.2"
add_program() {
    cp "$1" "$root/bin/"
    "$loader" --library-path "$deb/lib/x86_64-linux-gnu:$deb/usr/lib/x86_64-linux-gnu" --list "$1" |
        sed -n 's/.* => \(\/.*\) (0x.*/\1/p' | while read -r library; do
        case $library in
            "$deb"/*) cp -Lu "$library" "$root/lib/x86_64-linux-gnu/" ;;
            *) echo "tiny.sh: $1 needs $library, of a package that is not listed" >&2; exit 1 ;;
        esac
    done
}
add_program "$deb/usr/sbin/dropbear"
add_program "$deb/usr/bin/dropbearkey"
add_program "$deb/sbin/resize2fs"

install -m 644 "$here/tiny/inittab" "$root/etc/inittab"
install -m 755 "$here/tiny/rc" "$root/etc/rc"
install -m 755 "$here/tiny/udhcpc.script" "$root/etc/udhcpc/default.script"
install -m 755 "$here/tiny/power-button" "$root/etc/acpi/PWRF/00000080"
for s in karri-grow karri-hostname karri-metadata karri-user-data karri-stop imds imds-talk bash; do
    install -m 755 "$here/tiny/$s" "$root/bin/$s"
done
echo tiny >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 tiny\n::1 localhost\n' >"$root/etc/hosts"
printf 'root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '/bin/sh\n/bin/bash\n' >"$root/etc/shells"
printf 'export PATH=/sbin:/bin\n' >"$root/etc/profile"
printf 'PRETTY_NAME="Karri tiny"\nNAME="Karri tiny"\nID=karri-tiny\nVERSION="%s"\n' "$version" >"$root/etc/os-release"
ln -s ../run/karri/resolv.conf "$root/etc/resolv.conf"
: >"$root/root/.ssh/authorized_keys"
chmod 600 "$root/root/.ssh/authorized_keys"

# Modules: disks and NICs of KVM, QEMU and Xen, the power button, and a few that guests' users ask for.
modules=(virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod virtio_net virtio_balloon virtio_console
    virtio-rng xen-blkfront xen-netfront button evdev 8021q isofs vfat nls_cp437 nls_ascii)
source=$deb/lib/modules/$version
target=$root/lib/modules/$version
mkdir -p "$target"
cp "$source"/modules.{builtin,builtin.modinfo,order} "$target/"
(cd "$source" && find kernel -name '*.ko' -printf '%f %p\n') >"$work/module-files"
add_module() { # NAME: the module and what it depends on, dependencies first in $work/module-order
    local file dependency
    file=$(awk -v n="${1//-/_}.ko" '{ f = $1; gsub("-", "_", f) } f == n { print $2; exit }' "$work/module-files")
    [ -n "$file" ] || return 0      # built in
    [ ! -e "$target/$file" ] || return 0
    install -D -m 644 "$source/$file" "$target/$file"
    for dependency in $(grep -az -m 1 '^depends=' "$source/$file" | tr -d '\0' | cut -d= -f2 | tr , ' '); do
        add_module "$dependency"
    done
    echo "$file" >>"$work/module-order"
}
for m in "${modules[@]}"; do add_module "$m"; done
"$deb/bin/busybox" depmod -b "$root" "$version"

# ---- ramdisk --------------------------------------------------------------------------------------------
initrd=$work/initrd
mkdir -p "$initrd"/{bin,dev,etc,modules,proc,root,sys}
cp "$deb/bin/busybox" "$initrd/bin/"
for applet in blockdev cat dd findfs hexdump insmod ls mount poweroff printf readlink sh switch_root usleep; do
    ln -s busybox "$initrd/bin/$applet"
done
install -m 755 "$here/tiny/initrd-init" "$initrd/init"
order=()
while read -r file; do
    name=$(basename "$file" .ko)
    case $name in
        virtio | virtio_ring | virtio_pci* | virtio_mmio | virtio_blk | xen-blkfront | virtio_scsi | \
            scsi_* | sd_mod | crc* | t10-pi)
            cp "$target/$file" "$initrd/modules/"
            order+=("$name")
            ;;
    esac
done <"$work/module-order"
echo "${order[*]}" >"$initrd/etc/modules"
find "$initrd" "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
(cd "$initrd" && find . | sort | cpio -o -H newc -R 0:0 --reproducible --quiet) | gzip -9n >"$work/tiny.initrd"

# ---- root image: ext4, room to grow to 1 TiB online -----------------------------------------------------
uuid=6b617272-6900-4000-8000-74696e790000       # fixed, as the label is
image=$work/tiny.root.img
truncate -s 48M "$image"
mke2fs -q -F -t ext4 -b 4096 -L karri-tiny -U $uuid -N 8192 -m 0 -J size=4 \
    -E "hash_seed=$uuid,resize=268435456,root_owner=0:0,lazy_itable_init=1,nodiscard" -d "$root" "$image"
# Everything belongs to root, and no time of this build stays in the inodes.
stamp=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)
first_free=$(debugfs -R 'ffi' "$image" 2>/dev/null | awk '/found/ { print $NF }')
{
    echo 'sif <2> ctime '"$stamp"; echo 'sif <2> crtime '"$stamp"; echo 'sif <2> atime '"$stamp"
    for ((i = 11; i < first_free; i++)); do
        for field in "uid 0" "gid 0" "atime $stamp" "ctime $stamp" "crtime $stamp" "ctime_extra 0" "atime_extra 0" "crtime_extra 0"; do
            echo "sif <$i> $field"
        done
    done
} >"$work/debugfs"
debugfs -w -f "$work/debugfs" "$image" >"$work/debugfs.log" 2>&1
e2fsck -fn "$image" >"$work/e2fsck.log" 2>&1 || { cat "$work/e2fsck.log" >&2; exit 1; }

# ---- disk: partition 2 (FAT: loader, kernel, ramdisk), then partition 1 (root), which can grow ----------
fat_start=2048
fat_sectors=$(($(stat -c %s "$kernel") / 512 + $(stat -c %s "$work/tiny.initrd") / 512 + 2 * 2048))
root_start=$(((fat_start + fat_sectors + 2047) / 2048 * 2048))
root_sectors=$(($(stat -c %s "$image") / 512))
fat_sectors=$((root_start - fat_start))
# no_timer_check: emulated on a busy host, a timer that comes late is taken for none, and the kernel panics.
cat >"$work/syslinux.cfg" <<END
PROMPT 0
TIMEOUT 0
DEFAULT tiny
LABEL tiny
    LINUX vmlinuz
    INITRD initrd
    APPEND root=LABEL=karri-tiny ro console=ttyS0 quiet mitigations=off no_timer_check
END
touch -d "@$SOURCE_DATE_EPOCH" "$work/syslinux.cfg" "$work/tiny.initrd"
fat=$work/fat.img
truncate -s $((fat_sectors * 512)) "$fat"
export MTOOLS_SKIP_CHECK=1
mformat -i "$fat" -T $fat_sectors -h 64 -s 32 -H $fat_start -N 6b617272 -v KARRI-BOOT -c 16 ::
mcopy -m -i "$fat" "$kernel" ::vmlinuz
mcopy -m -i "$fat" "$work/tiny.initrd" ::initrd
mcopy -m -i "$fat" "$work/syslinux.cfg" ::syslinux.cfg
syslinux --install "$fat"

disk=$work/disk.img
truncate -s $(((root_start + root_sectors) * 512)) "$disk"
sfdisk -q "$disk" <<END
label: dos
label-id: 0x6b617272
1 : start=$root_start, size=$root_sectors, type=83
2 : start=$fat_start, size=$fat_sectors, type=e, bootable
END
dd if=$mbr of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$fat" of="$disk" bs=1M seek=$((fat_start / 2048)) conv=notrunc,sparse status=none
dd if="$image" of="$disk" bs=1M seek=$((root_start / 2048)) conv=notrunc,sparse status=none
qemu-img convert -c -O qcow2 "$disk" "$work/tiny.disk.qcow2"

# ---- hand over: each file complete, the manifest last ---------------------------------------------------
rm -f "$out/tiny.manifest"
cp "$kernel" "$work/tiny.vmlinuz"
for f in tiny.vmlinuz tiny.initrd tiny.root.img tiny.disk.qcow2; do
    cp --sparse=always "$work/$f" "$out/.$f.new"
    mv "$out/.$f.new" "$out/$f"
    printf '%s %s %s\n' "$f" "$(stat -c %s "$out/$f")" "$(sha256sum <"$out/$f" | cut -d' ' -f1)" >>"$work/tiny.manifest"
done
cp "$work/tiny.manifest" "$out/tiny.manifest"
cat "$out/tiny.manifest"
