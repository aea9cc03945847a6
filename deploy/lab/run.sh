#!/bin/bash
# run.sh all|xen|systemd|ceph|vlan: proofs that need machines which a test computer is not. Prints a line per proof with its
# seconds; exits 1 if one fails, and then says where the logs are. README.md tells what is proved and how.
#
# KARRI_BIN=DIR takes the programs (lab_cc and lab_nc among them) from there instead of building them.
# KARRI_LAB_MINUTES (15) is the time limit of one lab.
set -euo pipefail
umask 022
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

case ${1:-} in
    all) labs=(xen systemd ceph vlan) ;;
    xen | systemd | ceph | vlan) labs=("$1") ;;
    *) echo "usage: run.sh all|xen|systemd|ceph|vlan" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/target/lab
mkdir -p "$cache"
minutes=${KARRI_LAB_MINUTES:-15}

seconds() { # FROM: since then
    local micros=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
    printf '%d.%d' $((micros / 1000000)) $((micros / 100000 % 10))
}
proof() { printf 'ok   %6s s  %s\n' "$(seconds "$1")" "$2"; }

# ---- what the machines carry ---------------------------------------------------------------------------------
binaries() { # DIRECTORY PROGRAM...: the programs under proof, without what only a debugger reads
    local to=$1 from=${KARRI_BIN:-$root/target/debug} program
    shift
    if [ -z "${KARRI_BIN:-}" ]; then (cd "$root" && cargo build --quiet --workspace --locked --bins); fi
    for program in "$@"; do strip -o "$to/$program" "$from/$program"; done
}
tiny() { # DIRECTORY: the demo image, built if it is not there
    local images=$root/target/images
    [ -f "$images/tiny.manifest" ] || "$root/deploy/images/tiny.sh" "$images" >/dev/null
    cp --sparse=always "$images"/tiny.{vmlinuz,initrd,root.img,disk.qcow2,manifest} "$1/"
}

# ---- Xen -----------------------------------------------------------------------------------------------------
xen() {
    local begin=$EPOCHREALTIME run=$cache/xen-run code=1 line pid
    "$here/xen/build.sh" "$cache/xen"
    proof "$begin" "xen: dom0 is built from Debian packages"

    begin=$EPOCHREALTIME
    rm -rf "$run"
    mkdir -p "$run/payload"
    binaries "$run/payload" karri-nc karri-walrus lab_cc
    tiny "$run/payload"
    install -m 755 "$here/xen/payload-run" "$run/payload/run"
    truncate -s 512M "$run/payload.ext4"
    mke2fs -q -F -t ext4 -O ^has_journal -L lab-payload -d "$run/payload" "$run/payload.ext4"
    rm -rf "$run/payload"
    proof "$begin" "xen: karri-nc and the guest image are packed"

    # With SMAP, SMEP or RDTSCP as QEMU emulates them Xen's PV guests do not run. With FSGSBASE and XSAVE
    # they do, and now and then a process finds another one's registers in its own.
    # Nothing that dom0 writes is kept, and there is no network card. Its port takes no input, but an input
    # that has ended would close it.
    begin=$EPOCHREALTIME
    mkfifo "$run/input"
    exec {input}<>"$run/input"
    exec {lab}< <(exec timeout -k 10 $((minutes * 60)) qemu-system-x86_64 \
        -M pc -accel tcg,tb-size=256 -cpu max,-smap,-smep,-rdtscp,-fsgsbase,-xsave -smp 1 -m 1536 \
        -nodefaults -display none -no-reboot \
        -kernel "$cache/xen/xen" \
        -append "console=com1 com1=115200,8n1 dom0_mem=768M,max:768M loglvl=warning xpti=0 spec-ctrl=no" \
        -initrd "$cache/xen/vmlinuz console=hvc0 quiet mitigations=off,$cache/xen/initrd" \
        -serial "file:$run/console" \
        -drive "file=$cache/xen/dom0.ext4,format=raw,if=virtio,snapshot=on" \
        -drive "file=$run/payload.ext4,format=raw,if=virtio,readonly=on" \
        -device virtio-serial-pci -chardev stdio,id=lab,signal=off -device virtserialport,chardev=lab \
        2>"$run/qemu.log" <&"$input")
    pid=$!
    while IFS= read -r -u "$lab" line; do
        case $line in
            'lab: xen answers '*) proof "$begin" "xen: libvirt answers in dom0 (${line#lab: xen answers })" ;;
            'lab: end '*) code=${line#lab: end }; break ;;
            'ok '* | 'FAIL '*) echo "${line/ s  / s  xen: }" ;;
        esac
        printf '%s\n' "$line" >>"$run/dom0.log"
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    exec {lab}<&- {input}>&-
    if [ "$code" != 0 ]; then
        echo "xen: failed; see dom0.log, console and qemu.log in $run" >&2
        tail -n 40 "$run/dom0.log" >&2 || true
        return 1
    fi
}

# ---- systemd -------------------------------------------------------------------------------------------------
systemd() {
    local begin=$EPOCHREALTIME run=$cache/systemd-run
    "$here/systemd/build.sh" "$cache/systemd"
    proof "$begin" "systemd: a Debian is built"

    begin=$EPOCHREALTIME
    rm -rf "$run"
    mkdir -p "$run/payload"/{bin,target/images,deploy}
    binaries "$run/payload/bin" karri karri-clc karri-cc karri-nc karri-walrus
    tiny "$run/payload/target/images"
    cp -r "$root/docs" "$run/payload/"
    cp -r "$root/deploy/systemd" "$run/payload/deploy/"
    proof "$begin" "systemd: the programs, units and the guest image are packed"

    timeout -k 120 $((minutes * 60)) python3 -u "$here/systemd/proofs.py" "$cache/systemd/tree" "$run/payload" "$run"
}

# ---- Ceph ----------------------------------------------------------------------------------------------------
ceph() {
    local begin=$EPOCHREALTIME run=$cache/ceph-run
    "$here/ceph/build.sh" "$cache/ceph"
    proof "$begin" "ceph: a Debian with Ceph is built"

    begin=$EPOCHREALTIME
    rm -rf --one-file-system "$run"
    mkdir -p "$run/bin"
    binaries "$run/bin" karri karri-clc karri-cc karri-nc karri-walrus
    proof "$begin" "ceph: the programs are packed"

    # With its namespaces everything ends that runs in there, and every mount.
    timeout -k 20 $((minutes * 60)) unshare --mount --propagation private --net --pid --fork --kill-child=KILL \
        "$root/target/test-venv/bin/python" -u "$here/ceph/proofs.py" "$cache/ceph/tree" "$run/bin" "$run" ||
        { echo "ceph: failed; see ceph/log and cloud in $run" >&2; return 1; }
    rm -rf --one-file-system "$run"
}

# ---- VLANs ---------------------------------------------------------------------------------------------------
vlan() {
    local begin=$EPOCHREALTIME run=$cache/vlan-run images=$root/target/images
    [ -f "$images/labhost.manifest" ] || "$root/deploy/images/labhost.sh" "$images" >/dev/null
    proof "$begin" "vlan: a host is built from Debian packages"

    begin=$EPOCHREALTIME
    rm -rf "$run"
    mkdir -p "$run/bin"
    binaries "$run/bin" karri karri-clc karri-cc karri-nc karri-walrus lab_nc
    proof "$begin" "vlan: the programs are packed"

    timeout -k 20 $((minutes * 60)) "$root/target/test-venv/bin/python" -u "$here/vlan/proofs.py" "$images" "$run/bin" "$run" ||
        { echo "vlan: failed; see consoles and logs of the hosts in $run" >&2; return 1; }
    rm -rf "$run"
}

for lab_name in "${labs[@]}"; do "$lab_name"; done
