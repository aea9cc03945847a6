#!/bin/bash
# test-tiny.sh DIR: boots the image that tiny.sh built in DIR, in both its forms, under plain emulation with
# user networking (no KVM, no root), and checks what a cloud relies on. Prints the seconds; fails if it fails.
#
# Power-on to the ready line and the end of a command over ssh may take KARRI_TINY_SECONDS (6). A loaded machine
# must not trip that: for how long the emulator had to wait for a processor, as the kernel tells, does not count.
# Whatever is waited for has one generous limit, KARRI_TINY_WAIT (90).
set -euo pipefail
export LC_ALL=C

[ $# = 1 ] || { echo "usage: test-tiny.sh DIR" >&2; exit 2; }
images=$(cd "$1" && pwd)
seconds_limit=${KARRI_TINY_SECONDS:-6}
wait_limit=${KARRI_TINY_WAIT:-90}
work=$(mktemp -d "${TMPDIR:-/tmp}/karri-test-tiny.XXXXXX")
qemu=
cleanup() {
    [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "FAIL $case: $*" >&2
    [ ! -f "$work/console" ] || { echo "--- end of the console:"; tail -n 25 "$work/console"; } >&2
    exit 1
}

# ---- a metadata service: one process per connection, its files in $work/metadata --------------------------
mkdir -p "$work/metadata/meta-data/public-keys/0"
ssh-keygen -q -t ed25519 -N '' -C tiny-test -f "$work/key"
cp "$work/key.pub" "$work/metadata/meta-data/public-keys/0/openssh-key"
cat >"$work/imds-stub" <<'END'
#!/bin/bash
# imds-stub v1|v2: answers one request
cd "$(dirname "$0")/metadata"
IFS=' ' read -r method path _
token=
while IFS= read -r line; do
    line=${line%$'\r'}
    [ -n "$line" ] || break
    case ${line,,} in x-aws-ec2-metadata-token:*) token=${line##*: } ;; esac
done
answer() { printf 'HTTP/1.0 %s\r\nContent-Length: %s\r\n\r\n' "$1" "$(stat -c %s "$2")"; cat "$2"; }
file=${path#/latest/}
if [ "$1 $method $path" = "v2 PUT /latest/api/token" ]; then
    printf 'HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nT0KEN-OK'
elif [ "$method" != GET ]; then answer '405 Method Not Allowed' /dev/null
elif [ "$1" = v2 ] && [ "$token" != T0KEN-OK ]; then answer '401 Unauthorized' /dev/null
elif [ -f "$file" ]; then answer '200 OK' "$file"
else answer '404 Not Found' /dev/null
fi
END
chmod +x "$work/imds-stub"

# ---- one guest at a time ----------------------------------------------------------------------------------
now() { echo "${EPOCHREALTIME/[.,]/}"; }                  # microseconds
since() { printf '%d.%02d' $((($(now) - $1) / 1000000)) $((($(now) - $1) / 10000 % 100)); }
cpu() { # microseconds of processor that the emulator has used
    local stat
    stat=$(<"/proc/$qemu/stat")
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    echo $(((${12} + ${13}) * 1000000 / $(getconf CLK_TCK)))
}
unloaded() { # microseconds since power-on, less those for which the emulator's threads waited for a processor
    local file nanoseconds used took
    took=$(($(now) - begin))
    for file in /proc/"$qemu"/task/*/schedstat; do
        read -r _ nanoseconds _ 2>/dev/null <"$file" || continue     # a thread that has just ended
        took=$((took - nanoseconds / 1000))
    done
    used=$(cpu)
    echo $((took > used ? took : used))                 # what waited side by side is taken off once only
}
within() { # SECONDS LABEL: power-on was not longer ago
    local took limit=$1
    shift
    took=$(unloaded)
    printf '%-34s %d.%02d s on a machine of its own\n' "$case: $1" $((took / 1000000)) $((took / 10000 % 100))
    [ "$took" -le $((limit * 1000000)) ] || fail "$1: took more than $limit s"
}

start() { # NETWORK-OPTIONS QEMU-ARGUMENTS...; sets qemu, con, port
    local network=$1 line
    shift
    rm -f "$work/mon.in" "$work/mon.out"
    mkfifo "$work/mon.in" "$work/mon.out"
    : >"$work/console"
    begin=$(now)
    # Both ends of the monitor are held open here, or qemu and this script would wait for each other.
    exec {mon_in}<>"$work/mon.in" {mon_out}<>"$work/mon.out"
    exec {con}< <(exec qemu-system-x86_64 -accel tcg -smp 1 -m 192 -nodefaults -display none -vga none \
        -drive "file=$work/disk.qcow2,if=virtio" \
        -netdev "user,id=n,net=169.254.0.0/16,hostfwd=tcp:127.0.0.1:0-:22$network" \
        -device virtio-net-pci,netdev=n,romfile= -device virtio-rng-pci \
        -chardev "pipe,id=mon,path=$work/mon" -mon chardev=mon -serial stdio "$@" </dev/null 2>&1)
    qemu=$!
    # The port that the emulator chose: "TCP[HOST_FORWARD]  12  127.0.0.1 43210  169.254.0.15 22 ..."
    echo 'info usernet' >&"$mon_in"
    port=
    while IFS= read -r -t "$wait_limit" -u "$mon_out" line; do
        case $line in *HOST_FORWARD*) read -r _ _ _ port _ <<<"$line"; break ;; esac
    done
    [ -n "$port" ] || fail "the emulator did not start: $(timeout 1 cat <&"$con")"
}
await() { # PATTERN: reads the console until a line of that pattern comes
    local line end=$(($(now) + wait_limit * 1000000))
    while [ "$(now)" -lt $end ]; do
        if IFS= read -r -t 5 -u "$con" line; then
            line=${line%$'\r'}
            echo "$line" >>"$work/console"
            # shellcheck disable=SC2254
            case $line in $1) return 0 ;; esac
        elif ! kill -0 "$qemu" 2>/dev/null; then
            fail "the guest ended before it said: $1"
        fi
    done
    fail "did not say within $wait_limit s: $1"
}
ready() { # LABEL: until the ready line; prints seconds
    await 'karri-tiny: ready'
    printf '%-34s %s s\n' "$case: $1" "$(since "$begin")"
}
in_guest() {
    timeout "$wait_limit" ssh -q -i "$work/key" -p "$port" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile="$work/known" -o ConnectTimeout="$wait_limit" root@127.0.0.1 "$@"
}
is() { # WHAT GOT WANTED
    [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"
}
off() { # LABEL: until the machine is off; prints seconds since $begin
    local line
    while IFS= read -r -t 20 -u "$con" line; do echo "${line%$'\r'}" >>"$work/console"; done
    ! kill -0 "$qemu" 2>/dev/null || wait_gone
    printf '%-34s %s s\n' "$case: $1" "$(since "$begin")"
    exec {con}<&- {mon_in}>&- {mon_out}<&-
    qemu=
    rm -f "$work/known"
}
wait_gone() {
    timeout 5 tail --pid="$qemu" -f /dev/null || fail "the machine did not go off"
}
press_power() {
    begin=$(now)
    echo system_powerdown >&"$mon_in"
}
overlay() { # BASE FORMAT SIZE
    rm -f "$work/disk.qcow2"
    qemu-img create -q -f qcow2 -b "$images/$1" -F "$2" "$work/disk.qcow2" "$3"
}
apart=(-kernel "$images/tiny.vmlinuz" -initrd "$images/tiny.initrd" -append "root=/dev/vda ro console=ttyS0 no_timer_check")
imds() { echo ",guestfwd=tcp:169.254.169.254:80-cmd:$work/imds-stub $1"; }

case=manifest
while read -r file size sum; do
    is "$file's size" "$(stat -c %s "$images/$file")" "$size"
    is "$file's sha256" "$(sha256sum <"$images/$file" | cut -d' ' -f1)" "$sum"
done <"$images/tiny.manifest"
within_size() { # FILE...: what they take on a disk, holes left out
    local file bytes=0
    for file in "$@"; do bytes=$((bytes + $(stat -c '%b * %B' "$images/$file"))); done
    printf '%-34s %d KiB\n' "$case: $*" $((bytes / 1024))
    [ "$bytes" -le $((25 * 1024 * 1024)) ] || fail "$* take more than 25 MB"
}
within_size tiny.disk.qcow2
within_size tiny.vmlinuz tiny.initrd tiny.root.img

# ---- kernel, ramdisk and root apart; IMDSv2; user-data gzip'd; reboot; power button -------------------------
case="kernel+ramdisk+root"
echo i-0123456789abcdef0 >"$work/metadata/meta-data/instance-id"
echo ip-10-1-2-3.ec2.internal >"$work/metadata/meta-data/hostname"
# shellcheck disable=SC2016
printf '#!/bin/bash\necho "user-data: $(hostname)"\necho once >>/root/runs\n' | gzip -9n >"$work/metadata/user-data"
overlay tiny.root.img raw 1G
start "$(imds v2)" "${apart[@]}"
ready "power-on to ready"
is "the name" "$(in_guest hostname)" ip-10-1-2-3
within "$seconds_limit" "power-on to a command by ssh"
await 'user-data: ip-10-1-2-3'
await 'karri-tiny: user-data finished, exit 0'
fingerprint=$(awk '/BEGIN SSH HOST KEY FINGERPRINTS/ { getline; print $2 }' "$work/console")
is "the host key" "$(ssh-keygen -lf "$work/known" | awk '{ print $2; exit }')" "$fingerprint"
[ "$(in_guest 'df -m / | tail -n 1' | awk '{ print $2 }')" -gt 800 ] || fail "the root did not grow with its disk"
in_guest 'echo kept >/root/kept'
begin=$(now)
in_guest reboot || true
ready "reboot to ready"
is "a file after the reboot" "$(in_guest cat /root/kept)" kept
is "the count of user-data's runs" "$(in_guest cat /root/runs)" once
is "the host key after the reboot" "$(awk '/BEGIN SSH HOST KEY FINGERPRINTS/ { getline; k = $2 } END { print k }' \
    "$work/console")" "$fingerprint"
press_power
off "power button to off"

# ---- the same disk as another instance: a host key and a user-data run of its own; poweroff inside ----------
echo i-0fedcba9876543210 >"$work/metadata/meta-data/instance-id"
start "$(imds v2)" "${apart[@]}"
ready "as another instance, to ready"
await 'karri-tiny: user-data finished, exit 0'
other=$(awk '/BEGIN SSH HOST KEY FINGERPRINTS/ { getline; print $2 }' "$work/console")
[ "$other" != "$fingerprint" ] || fail "two instances have one host key"
is "the count of user-data's runs" "$(in_guest 'wc -l </root/runs')" 2
begin=$(now)
in_guest poweroff || true
off "poweroff inside to off"

# ---- bootable disk; IMDSv1 only; user-data that is no script -------------------------------------------------
case="bootable disk"
printf '\000\001 no script\n' >"$work/metadata/user-data"
overlay tiny.disk.qcow2 qcow2 1G
start "$(imds v1)"
ready "power-on to ready"
is "the root device" "$(in_guest cat /run/karri/root-device)" /dev/vda1
within "$seconds_limit" "power-on to a command by ssh"
await 'karri-tiny: user-data is not a script*'
[ "$(in_guest 'df -m / | tail -n 1' | awk '{ print $2 }')" -gt 800 ] || fail "the root did not grow with its disk"
press_power
off "power button to off"

# ---- nobody answers at 169.254.169.254: still ready, soon ----------------------------------------------------
case="no metadata"
overlay tiny.disk.qcow2 qcow2 256M
start ",restrict=on"
ready "power-on to ready"
within $((seconds_limit + 2)) "power-on to ready"      # two seconds go by with asking
exec {ssh}<>"/dev/tcp/127.0.0.1/$port"
IFS= read -r -t "$wait_limit" -u "$ssh" banner || fail "sshd does not answer"
exec {ssh}<&-
case $banner in SSH-2.0-dropbear*) ;; *) fail "sshd says $banner" ;; esac
press_power
off "power button to off"
echo "tiny: all well"
