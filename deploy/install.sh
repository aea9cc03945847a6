#!/bin/bash
# install.sh host|run|test|bench|images [--list]: installs what this Debian 12 lacks, says what and why, and does
# nothing when nothing is missing.
#
#   images   what builds the guest images (deploy/images)
#   host     what a machine needs that runs the programs and builds nothing: a server, a node
#   run      what `make up` needs; includes images and host
#   test     what `make test` needs besides; includes run
#   bench    what `make bench` needs besides; includes test
#
# --list only prints the packages of the set and their reasons.
# KARRI_NO_INSTALL=1: names what is missing and exits 1. Without root it takes sudo, or says what to run.
# Python packages go into a virtual environment under target/, never into the system; where pip looks is
# pip's own configuration. Debian 12's Rust is too old: where none is new enough, rustup puts one into the
# user's home (~/.cargo, ~/.rustup).
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
# Where rustup puts cargo, for a shell that was open before it did.
export PATH=${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH

usage() { sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
case "${1:-} ${2:-}" in
    'images ' | 'images --list') sets=(images) ;;
    'host ' | 'host --list') sets=(host) ;;
    'run ' | 'run --list') sets=(images host run) ;;
    'test ' | 'test --list') sets=(images host run test) ;;
    'bench ' | 'bench --list') sets=(images host run test bench) ;;
    *) usage ;;
esac
list=${2:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# ---- the packages: one line each, and why ------------------------------------------------------------------
declare -A packages
packages[images]='
    qemu-utils                  qemu-img: disks, overlays, conversions
    mmdebstrap                  builds the Debian image
    e2fsprogs                   mke2fs and debugfs: root file systems without mounting anything
    fdisk                       sfdisk: partition tables
    mtools                      fills the FAT partition that the boot loader reads
    syslinux                    boot loader of the tiny image
    syslinux-common             its master boot record
    grub-pc-bin                 boot loader of the Debian image
    grub-common                 grub-mkimage, which puts it together
    cpio                        ramdisks
    zstd                        compressed disks and ramdisks
    xz-utils                    unpacks Debian packages
'
packages[host]='
    qemu-system-x86             runs the guests, with KVM or by emulation
    qemu-utils                  qemu-img: overlays of images, conversions
    libvirt-daemon-system       libvirtd as a system service
    libvirt-daemon-driver-qemu  its driver for QEMU and KVM
    libvirt-clients             virsh, for people and for deploy/start-libvirt.sh
    dnsmasq-base                DHCP and DNS for guests
    iproute2                    ip: bridges, taps, addresses
    iptables                    address translation and filters
    ipset                       who may talk to whom: the members of rules of security groups
    kmod                        modprobe: br_netfilter, by which bridged packets meet iptables
    ca-certificates             TLS to places from which images are imported
'
packages[run]='
    libvirt-dev                 headers that the node controller is built against
    pkg-config                  finds them
    gcc                         linker, and the C parts of crates (SQLite, rustls)
    libc6-dev                   the same
    make                        the Makefile
    awscli                      aws-cli v2: the commands that `karri up` ends with
    openssh-client              logs in to guests; the first session of the README
'
packages[test]='
    postgresql-15               the second database; tests start a private server as an ordinary user
    openssl                     encrypts and signs the image bundles that tests make
    busybox-static              a DHCP client for network namespaces that play guests
    systemd                     systemd-analyze: reads the service units (it need not be what runs this machine)
    systemd-container           systemd-nspawn: the machines of deploy/lab/systemd
    conntrack                   lists the connections that rules have let through, for tests of what becomes of them
    procps                      sysctl, for network namespaces that play hosts; pgrep, for what a test has left
    python3-venv                environment for the clients from PyPI (tests/clients/requirements.txt)
'
packages[bench]='
    wrk                         asks as fast as answers come; scripted in Lua
    nginx-light                 the yardstick for S3: sends files with sendfile
'

packages[rustup]='
    curl                        fetches rustup, which installs Rust
'

names() { awk 'NF { print $1 }' <<<"$1"; }
if [ "$list" = --list ]; then
    for s in "${sets[@]}"; do printf '%s:%s' "$s" "${packages[$s]}"; done
    exit 0
fi

# ---- Rust: is there one, and new enough? -----------------------------------------------------------------------
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
rust_have=none
if command -v cargo >/dev/null; then rust_have=$(cargo --version 2>/dev/null | awk '{ print $2 }') || true; fi
rust_missing=
case " ${sets[*]} " in *' run '*)
    if [ "$rust_have" = none ] || dpkg --compare-versions "${rust_have:-0}" lt "$rust_wanted"; then
        rust_missing=1
        command -v rustup >/dev/null || sets+=(rustup)
    fi ;;
esac

# ---- what is missing? ----------------------------------------------------------------------------------------
wanted=$(for s in "${sets[@]}"; do names "${packages[$s]}"; done)
# shellcheck disable=SC2086
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | awk '$1 == "installed" { print $2 }' || true)
mapfile -t missing < <(comm -23 <(sort -u <<<"$wanted") <(sort -u <<<"$have"))

is_missing() { case " ${missing[*]} " in *" $1 "*) true ;; *) false ;; esac }

environments=() # "DIRECTORY REQUIREMENTS" that are absent or of another list
check_environment() {
    cmp -s "$root/$2" "$root/$1/installed.txt" || environments+=("$1 $2")
}
case " ${sets[*]} " in *' test '*) check_environment target/test-venv tests/clients/requirements.txt ;; esac
case " ${sets[*]} " in *' bench '*) check_environment target/bench-venv tests/clients/requirements-bench.txt ;; esac

[ ${#missing[@]} -gt 0 ] || [ ${#environments[@]} -gt 0 ] || [ -n "$rust_missing" ] || exit 0

if [ ${#missing[@]} -gt 0 ]; then
    echo "Missing Debian packages (set: $1):"
    for s in "${sets[@]}"; do
        while read -r name why; do
            [ -n "$name" ] || continue
            if is_missing "$name"; then printf '    %-28s%s\n' "$name" "$why"; fi
        done <<<"${packages[$s]}"
    done
fi
for e in "${environments[@]}"; do
    echo "Missing Python environment: ${e%% *}, from ${e#* }"
done
[ -z "$rust_missing" ] || echo "Missing Rust $rust_wanted or newer (there is: ${rust_have:-none}); rustup installs it"
if [ "${KARRI_NO_INSTALL:-}" = 1 ]; then
    echo "KARRI_NO_INSTALL=1: nothing was installed. Without it, deploy/install.sh $1 installs the above." >&2
    exit 1
fi

# ---- Debian packages -----------------------------------------------------------------------------------------
# QEMU's packages want each other in exactly one version. Where a part of them came from elsewhere and is newer
# than what this Debian offers, that part goes back to Debian's version, or the others could not be installed.
qemu_downgrades() {
    local offered part installed
    offered=$(apt-cache policy qemu-system-x86 | awk '/Candidate:/ { print $2 }')
    [ -n "$offered" ] && [ "$offered" != '(none)' ] || return 0
    for part in qemu-utils qemu-system-common qemu-system-data qemu-block-extra; do
        installed=$(dpkg-query -W -f '${db:Status-Status} ${Version}' $part 2>/dev/null) || continue
        case $installed in installed\ *) installed=${installed#installed } ;; *) continue ;; esac
        if dpkg --compare-versions "$installed" gt "$offered"; then
            part_offered=$(apt-cache madison $part | awk -F'|' -v v="$offered" '{ gsub(/ /, "", $2) } $2 == v { print $2; exit }')
            if [ -n "$part_offered" ]; then
                echo "    $part goes from $installed back to $offered, as qemu-system-x86 needs it" >&2
                echo "$part=$offered"
            fi
        fi
    done
}

if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null; then
            as_root=(sudo)
        else
            echo "Not root, and there is no sudo. As root, run: apt-get install --no-install-recommends ${missing[*]}" >&2
            exit 1
        fi
    fi
    "${as_root[@]}" apt-get -q update >/dev/null || echo "apt-get update reported errors; trying with what apt knows" >&2
    downgrades=()
    if is_missing qemu-system-x86; then mapfile -t downgrades < <(qemu_downgrades); fi
    if [ ${#downgrades[@]} -gt 0 ]; then downgrades=(--allow-downgrades "${downgrades[@]}"); fi
    # A yardstick, not a service: nginx must not take port 80 because somebody measures.
    if is_missing nginx-light && command -v systemctl >/dev/null; then
        "${as_root[@]}" systemctl mask nginx.service || true
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confold install --no-install-recommends \
        "${missing[@]}" "${downgrades[@]}"
    echo "Installed: ${missing[*]}"
fi

# ---- Rust ----------------------------------------------------------------------------------------------------
if [ -n "$rust_missing" ]; then
    if command -v rustup >/dev/null; then
        rustup toolchain install stable --profile minimal --component clippy --component rustfmt
    else
        installer=$(mktemp)
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$installer" || {
            echo "rustup cannot be fetched. Install Rust $rust_wanted or newer in another way, and run this again." >&2
            exit 1
        }
        sh "$installer" -y -q --no-modify-path --profile minimal --component clippy --component rustfmt
        rm -f "$installer"
    fi
    echo "Installed: Rust, in ${CARGO_HOME:-$HOME/.cargo}; the Makefile finds it there"
fi

# ---- Python environments -------------------------------------------------------------------------------------
for e in "${environments[@]}"; do
    directory=$root/${e%% *}
    requirements=$root/${e#* }
    echo "Making ${e%% *} from ${e#* }"
    rm -rf "$directory"
    mkdir -p "$(dirname "$directory")"
    python3 -m venv "$directory"
    "$directory/bin/pip" install -q --disable-pip-version-check --no-deps -r "$requirements"
    "$directory/bin/pip" check
    cp "$requirements" "$directory/installed.txt"
done
