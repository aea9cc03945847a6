#!/bin/bash
# debian.sh OUTDIR: builds debian.disk.qcow2, a Debian 12 for BIOS with stock cloud-init, and debian.manifest.
#
# cloud-init finds its datasource by itself (Debian's own list of datasources, Debian's own ds-identify), and
# does what it does on EC2: key for the user `debian`, hostname, growpart, user-data. What is set here and not
# in Debian's cloud images only makes a first boot under emulation shorter; each such line says why.
#
# Needs root (owners and capabilities of the tree), but no loop devices.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

[ $# = 1 ] || { echo "usage: debian.sh OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/karri-debian.XXXXXX")
trap 'rm -rf "$work"' EXIT

for tool in mmdebstrap mke2fs sfdisk grub-mkimage qemu-img; do
    command -v $tool >/dev/null || { echo "debian.sh: $tool is missing; deploy/install.sh images installs it" >&2; exit 1; }
done
grub=/usr/lib/grub/i386-pc
[ -f $grub/boot.img ] || { echo "debian.sh: $grub is missing; deploy/install.sh images installs it" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "debian.sh: needs root" >&2; exit 1; }

packages=(
    linux-image-cloud-amd64 initramfs-tools zstd    # the kernel that Debian's cloud images have
    systemd-sysv udev dbus libpam-systemd           # init; logind answers the power button
    systemd-resolved isc-dhcp-client iproute2       # DHCP: dhclient for cloud-init's crawl, networkd after it
    cloud-init cloud-guest-utils fdisk e2fsprogs    # growpart and resize2fs for the root file system
    openssh-server sudo ca-certificates
    curl iputils-ping less                          # what one reaches for first on a new machine
)
include=$(IFS=,; echo "${packages[*]}")

# ---- files of the image ----------------------------------------------------------------------------------
files=$work/files
mkdir -p "$files"/etc/{cloud/cloud.cfg.d,initramfs-tools/conf.d,systemd/system,apt/apt.conf.d} "$files/boot/grub"
cat >"$files/etc/cloud/cloud.cfg.d/05_karri.cfg" <<'END'
# RSA keys take seconds where the processor is emulated; these two types take none.
ssh_genkeytypes: [ed25519, ecdsa]
# The image has this locale already, and a boot loader that debconf knows nothing of.
locale: C.UTF-8
grub_dpkg: {enabled: false}
END
# The drivers of the disks that Karri gives, instead of every driver there is: the ramdisk shrinks to a third.
cat >"$files/etc/initramfs-tools/conf.d/karri" <<'END'
MODULES=list
COMPRESS=zstd
END
printf '%s\n' virtio_pci virtio_blk virtio_scsi virtio_rng xen-blkfront sd_mod nvme ext4 >"$files/etc/initramfs-tools/modules"
echo 'LABEL=debian-root / ext4 defaults,noatime 0 1' >"$files/etc/fstab"
echo debian >"$files/etc/hostname"
mkdir -p "$files/etc/default"
echo LANG=C.UTF-8 >"$files/etc/default/locale"
# /vmlinuz and /initrd.img always point to the newest installed kernel, so this needs no update-grub. no_timer_check: emulated on
# a busy host, a timer that comes late is taken for none, and the kernel panics.
cat >"$files/boot/grub/grub.cfg" <<'END'
set timeout=0
serial --unit=0 --speed=115200
terminal_output serial console
linux /vmlinuz root=LABEL=debian-root ro console=tty0 console=ttyS0,115200 quiet loglevel=3 mitigations=auto no_timer_check
initrd /initrd.img
boot
END
# Nothing of this has a task in a guest's first minutes.
masked=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer systemd-pstore.service)
for unit in "${masked[@]}"; do ln -s /dev/null "$files/etc/systemd/system/$unit"; done

# ---- file system tree -------------------------------------------------------------------------------------
# The hooks run in the tree's place: what they call $1 is theirs to expand.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --aptopt='Apt::Install-Recommends "false"' \
    --essential-hook="copy-in '$files/etc/initramfs-tools' /etc" \
    --customize-hook="sync-in '$files' /" \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*_key* "$1"/var/lib/dbus/machine-id' \
    --customize-hook=': >"$1/etc/machine-id"' \
    --customize-hook='chroot "$1" systemctl enable --quiet systemd-networkd systemd-resolved ssh' \
    --customize-hook='ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"' \
    --customize-hook='chown -R 0:0 "$1"/etc/cloud "$1"/etc/initramfs-tools "$1"/etc/systemd/system "$1"/boot/grub' \
    bookworm "$work/tree.tar"
mkdir "$work/tree"
tar --xattrs --xattrs-include='*' -xf "$work/tree.tar" -C "$work/tree" --exclude='./dev/*'
rm "$work/tree.tar"

# ---- disk: GRUB in the sectors before partition 1, the root in partition 1 ---------------------------------
image=$work/root.img
truncate -s 1900M "$image"
mke2fs -q -F -t ext4 -L debian-root -m 1 -E resize=268435456,nodiscard,lazy_itable_init=1 \
    -d "$work/tree" "$image"
disk=$work/disk.img
start=2048
truncate -s $((start * 512 + $(stat -c %s "$image"))) "$disk"
sfdisk -q "$disk" <<END
label: dos
$start,,83,*
END
# boot.img looks for the core at sector 1, and grub-mkimage writes the core's length into its first sector:
# the two belong together as they are, without grub-install and the block devices that it asks for.
grub-mkimage -O i386-pc -d $grub -p '(hd0,msdos1)/boot/grub' -o "$work/core.img" \
    biosdisk part_msdos ext2 normal linux serial terminal minicmd boot
[ "$(stat -c %s "$work/core.img")" -le $(((start - 1) * 512)) ]
dd if=$grub/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
dd if="$image" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
rm "$image"
qemu-img convert -c -o compression_type=zstd -O qcow2 "$disk" "$out/.debian.disk.qcow2.new"

# ---- hand over: complete, the manifest last ----------------------------------------------------------------
rm -f "$out/debian.manifest"
f=debian.disk.qcow2
mv "$out/.$f.new" "$out/$f"
printf '%s %s %s\n' "$f" "$(stat -c %s "$out/$f")" "$(sha256sum <"$out/$f" | cut -d' ' -f1)" >"$work/manifest"
cp "$work/manifest" "$out/debian.manifest"
cat "$out/debian.manifest"
