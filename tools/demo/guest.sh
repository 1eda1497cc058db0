# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# In the guest: bring the peer and its devices up. Used by the demo and by the shell.

# shellcheck disable=SC2034 # for those who read this file in
PEER=10.77.0.1
FIRMWARE=${FIRMWARE:-hvl-peer.elf}

say() { printf '%s\n' "$*"; }

# The kernel's last words on what went wrong, and the peer's.
explain() {
	say "--- kernel log"
	dmesg | tail -n 25
	if [ -e /sys/kernel/debug/remoteproc/remoteproc0/trace0 ]; then
		say "--- the peer's trace"
		tail -n 25 /sys/kernel/debug/remoteproc/remoteproc0/trace0
	fi
}

fail() {
	say "FAILED: $*"
	explain
	exit 1
}

# wait_for SECONDS COMMAND...: until it succeeds; a deadline in seconds
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# The remote processor of psci_rproc, as a directory in sysfs.
rproc() {
	local r
	for r in /sys/class/remoteproc/remoteproc*; do
		case $(readlink "$r/device/driver") in
		*psci?rproc) printf '%s\n' "$r" && return 0 ;;
		esac
	done
	return 1
}

# hvl_devices: the virtio devices of our links, as directories in sysfs
hvl_devices() {
	local d
	for d in /sys/bus/virtio/devices/virtio*; do
		case $(readlink -f "$d") in
		*virtio-hvl* | *virtio_hvl* | *.link/*) printf '%s\n' "$d" ;;
		esac
	done
}

# by_id ID: the first of them with this virtio device id (1 net, 19 vsock)
by_id() {
	local d
	for d in $(hvl_devices); do
		if [ $(($(cat "$d/device"))) -eq "$1" ]; then
			printf '%s\n' "$d"
			return 0
		fi
	done
	return 1
}

bound() { local d; d=$(by_id "$1") && [ -e "$d/driver" ]; }
net_name() { local d; d=$(by_id 1) && basename "$d"/net/*; }

load_modules() {
	modprobe psci_rproc || fail "psci_rproc.ko does not load"
	modprobe virtio_hvl || fail "virtio_hvl.ko does not load"
	# On a full system udev loads these by their aliases; there is none here.
	modprobe -a virtio_net vmw_vsock_virtio_transport || fail "the kernel's own drivers do not load"
}

start_peer() {
	local r
	wait_for 60 rproc || fail "psci_rproc made no remote processor"
	r=$(rproc)
	printf '%s' "$FIRMWARE" >"$r/firmware"
	echo start >"$r/state" || fail "remoteproc does not start $FIRMWARE"
}

net_up() {
	local dev
	wait_for 60 bound 1 || fail "no virtio-net device of the peer"
	dev=$(net_name)
	ip link set "$dev" up
	busybox udhcpc -q -n -t 20 -T 1 -i "$dev" >/run/udhcpc.log 2>&1 ||
		{ cat /run/udhcpc.log; fail "no DHCP lease on $dev"; }
}
