#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# measure.sh ROUNDS: in the guest, do the steps of /bench/steps so often, in turn, and print what
# was measured and counted, packed: the console takes time that is not the link's.
#
# A step is a line "NAME|COMMAND": what /bench/load is to do, or "none", "idle SECONDS", "doorbell".
# The first round only warms up.
# shellcheck source-path=SCRIPTDIR source=../demo/guest.sh
. /opt/hvl/guest.sh

ROUNDS=$1
LOG=/run/bench.log
HOST_SIDE=10.0.2.15/24
load=/bench/load

debugfs() { echo /sys/kernel/debug/virtio_hvl/*; }

# How often the link's threads have slept and gone on.
wakeups() {
	local status
	for status in /proc/[0-9]*/status; do
		awk '/^Name:/ { ours = $2 ~ /^virtio-hvl/ } ours && /^voluntary_ctxt/ { print "wakeups: " $2 }' \
			"$status" 2>/dev/null
	done | awk '{ sum += $2 } END { print "wakeups: " sum + 0 }'
}

# Linux's counters, read without any traffic.
linux() { echo "@linux" && cat "$(debugfs)/stats" "$(debugfs)/devices"; }
peer() { echo "@peer" && $load get vsock 2 21; }

do_step() {
	case $1 in
	none) ;;
	# (The peer's page costs doorbells: they must be over when the counting begins.)
	idle\ *) sleep 1 && linux && wakeups && sleep "${1#idle }" && wakeups ;;
	doorbell) cat "$(debugfs)/doorbell_rtt" ;;
	*) $load $1 ;;
	esac
}

step() {
	peer && linux && echo "@result" && do_step "$1" && linux && peer
}

# set_up FIRMWARE ID...: from loading the driver to all devices bound
set_up() {
	local firmware=$1 id
	shift
	rmmod virtio_hvl
	echo stop >"$(rproc)/state"
	FIRMWARE=$firmware start_peer
	modprobe virtio_hvl
	for id; do wait_for 60 bound "$id" || fail "device $id of $firmware is not bound"; done
	sleep 2
	linux
}

# QEMU's own network device, if a step goes over it
host_net() {
	local d ours
	grep -qF 10.0.2.2 /bench/steps || return 0
	modprobe virtio_mmio || fail "no virtio_mmio"
	ours=$(hvl_devices)
	for d in /sys/bus/virtio/devices/virtio*; do
		grep -qxF "$d" <<<"$ours" && continue
		wait_for 20 [ -d "$d/net" ] || fail "$d is no network device"
		ip address add $HOST_SIDE dev "$(basename "$d"/net/*)"
		ip link set "$(basename "$d"/net/*)" up
	done
}

sysctl -q -w net.ipv4.ping_group_range="0 0"
export FIRMWARE=hvl-bench.elf
load_modules
modprobe vsock_loopback
start_peer
wait_for 60 bound 19 || fail "no virtio-vsock device bound to its driver"
net_up
host_net
$load serve 0.0.0.0 7 9 19 1 >/dev/null &
sleep 1

uname -rv >$LOG
for ((round = 0; round <= ROUNDS; round++)); do
	while IFS='|' read -r name command; do
		echo "@step $round $name" >>$LOG
		step "$command" >>$LOG 2>&1 || fail "$name: $(tail -n 3 $LOG)"
	done </bench/steps
	say "round $round of $ROUNDS"
done
kill $!
if [ -e /lib/firmware/hvl-bench-net.elf ]; then
	echo "@setup net" >>$LOG
	set_up hvl-bench-net.elf 1 >>$LOG || exit 1
	echo "@setup vsock" >>$LOG
	set_up hvl-bench-vsock.elf 19 >>$LOG || exit 1
	echo "@setup both" >>$LOG
	set_up hvl-bench.elf 1 19 >>$LOG || exit 1
fi
if dmesg | grep -E 'WARNING:|BUG:|Oops'; then
	fail "the kernel warned (above)"
fi
say "@packed"
gzip -9 <$LOG | base64
say "@end"
