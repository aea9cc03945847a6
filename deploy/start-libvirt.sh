#!/bin/bash
# start-libvirt.sh [--check]: makes sure that a libvirtd answers on qemu:///system, and says what it changes.
#
# Under systemd it is the system's own service. Without systemd (containers, small machines) virtlogd and
# libvirtd are started as daemons; virtlogd also keeps consoles' log files from growing without bound.
#
# One setting of /etc/libvirt/qemu.conf may be needed: where there is a /dev/kvm that the user of Debian's QEMU
# processes (libvirt-qemu) cannot open, libvirt examines QEMU anew at each look-up, seconds each. Then, and only
# if nobody has set anything in that file, QEMU runs as root.
#
# --check changes nothing: exit 0 if all is well, else 1 and what would be done.
set -euo pipefail
umask 022 # the daemons are not karri alone, which runs under a private one
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

check=
case ${1:-} in
    '') ;;
    --check) check=1 ;;
    *) echo "usage: start-libvirt.sh [--check]" >&2; exit 2 ;;
esac
uri=qemu:///system
conf=/etc/libvirt/qemu.conf
todo=0
say() { echo "libvirt: $*"; }
would() { # in --check: names the step, and tells the caller to leave it
    todo=1
    [ -n "$check" ] || return 1
    say "would $*"
}
answers() { timeout 20 virsh -q -c $uri version >/dev/null 2>&1; }

for tool in virsh libvirtd; do
    command -v $tool >/dev/null && continue
    say "$tool is not installed; deploy/install.sh run installs it" >&2
    exit 1
done
if [ "$(id -u)" != 0 ]; then
    if answers; then say "answers on $uri"; exit 0; fi
    say "$uri does not answer, and starting it takes root" >&2
    exit 1
fi

# ---- qemu.conf ---------------------------------------------------------------------------------------------
own_settings() { grep -qvE '^[[:space:]]*(#|$)' $conf 2>/dev/null; }
qemu_may_open_kvm() {
    [ -e /dev/kvm ] || return 0
    id libvirt-qemu >/dev/null 2>&1 || return 0
    setpriv --reuid=libvirt-qemu --regid="$(id -g libvirt-qemu)" --init-groups \
        test -r /dev/kvm -a -w /dev/kvm
}
restart=
if ! qemu_may_open_kvm; then
    if own_settings; then
        if ! grep -qE '^[[:space:]]*user[[:space:]]*=[[:space:]]*"(root|\+?0)"' $conf; then
            say "note: the user of QEMU cannot open /dev/kvm, so look-ups will be slow; $conf has settings of its own and stays"
        fi
    elif ! would "set user and group of QEMU to root in $conf (libvirt-qemu cannot open /dev/kvm)"; then
        cat >>$conf <<'END'

# Set by Karri's start-libvirt.sh: libvirt-qemu cannot open /dev/kvm here.
user = "root"
group = "root"
END
        say "set user and group of QEMU to root in $conf (libvirt-qemu cannot open /dev/kvm)"
        restart=1
    fi
fi

# ---- the daemons -------------------------------------------------------------------------------------------
running() { # NAME: does the daemon of /run/NAME.pid live?
    local pid
    pid=$(cat "/run/$1.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]
}
alone() ( # COMMAND...: with none of the files that whoever called has open, a lock for one: the daemons would hold them
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || exec {fd}>&-
    done
    exec "$@"
)
if [ -d /run/systemd/system ]; then
    if [ -n "$restart" ] && systemctl -q is-active libvirtd; then
        systemctl restart libvirtd
        say "restarted libvirtd.service, for the new settings; guests go on"
    elif ! answers && ! would "start libvirtd.service"; then
        systemctl start libvirtd
        say "started libvirtd.service"
    fi
else
    if [ -n "$restart" ] && running libvirtd; then
        pid=$(cat /run/libvirtd.pid)
        kill "$pid"
        timeout 20 tail --pid="$pid" -f /dev/null
        say "stopped libvirtd ($pid), for the new settings; guests go on"
    fi
    if ! running virtlogd && ! would "start virtlogd"; then
        alone virtlogd -d
        say "started virtlogd ($(cat /run/virtlogd.pid))"
    fi
    if ! running libvirtd && ! answers && ! would "start libvirtd"; then
        alone libvirtd -d
        say "started libvirtd ($(cat /run/libvirtd.pid 2>/dev/null || echo '?'))"
    fi
fi

if [ -n "$check" ]; then
    if answers; then say "answers on $uri"; else say "$uri does not answer"; todo=1; fi
    exit $todo
fi
# Its first answer waits until it has looked at the QEMU that is installed.
for ((tries = 0; tries < 3; tries++)); do
    if answers; then
        [ $todo = 0 ] || say "answers on $uri"
        exit 0
    fi
done
say "$uri does not answer: $(virsh -q -c $uri version 2>&1 | tail -n 1)" >&2
exit 1
