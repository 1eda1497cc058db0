#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# measure.sh ROUNDS: in the guest, do the steps of /bench/steps so often, in turn, and print what
# was measured and counted, packed: the console takes time that is not the link's.
#
# A step is a line "PART|NAME|COMMAND": what /bench/load is to do, or "none", "idle SECONDS", "doorbell",
# "run COMMAND" (of hvl_bench). The first round only warms up. /bench/parts has lines "NAME|DEVICES|OTHERS":
# each part has a peer with so many devices of its own, /lib/firmware/hvl-bench-<name>.elf, and peers of other
# links beside it, hvl-bench-other<number>.elf. /bench/setups has lines "NAME DEVICES": a peer with so many
# devices, hvl-bench-<name>.elf, is attached to, and its doorbell measured.
# shellcheck source-path=SCRIPTDIR source=../demo/guest.sh
. /opt/hvl/guest.sh

ROUNDS=$1
LOG=/run/bench.log
load=/bench/load

LINK=8000210.virtio-hvl
debugfs() { echo /sys/kernel/debug/virtio_hvl/$LINK; }

# rproc [N]: the remote processor of that link, the first one's without a number
rproc() {
	local r
	for r in /sys/class/remoteproc/remoteproc*; do
		case $(readlink -f "$r/device") in
		*/8000210.remoteproc${1:+-$1}) printf '%s\n' "$r" && return 0 ;;
		esac
	done
	return 1
}

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
# The peer's, where it has sockets to ask it by.
peer() {
	[ -z "$sockets" ] || { echo "@peer" && $load get vsock 2 21; }
}

do_step() {
	case $1 in
	none) ;;
	# (What comes after traffic is no part of it: the peer's page costs doorbells, and Linux asks
	# some seconds later whether its neighbour is still there.)
	idle\ *) sleep 10 && linux && wakeups && sleep "${1#idle }" && wakeups ;;
	doorbell) $load file "$(debugfs)/doorbell_rtt" ;;
	run\ *) $load file /sys/kernel/debug/hvl_bench/run "${1#run }" ;;
	*) $load $1 ;;
	esac
}

step() {
	peer && linux && echo "@result" && do_step "$1" && linux && peer
}

rounds() {
	local round name command where
	part=$1
	grep -q "^$part|" /bench/steps || return 0
	# (Once: with many devices to look through it takes a while.)
	sockets=
	! bound 19 || sockets=1
	for ((round = 0; round <= ROUNDS; round++)); do
		while IFS='|' read -r where name command; do
			[ "$where" = "$part" ] || continue
			echo "@step $round $name" >>$LOG
			step "$command" >>$LOG 2>&1 || fail "$name: $(tail -n 3 $LOG)"
		done </bench/steps
		say "$part: round $round of $ROUNDS"
	done
}

bound_devices() { # COUNT: so many of our devices have a driver
	local d n=0
	for d in $(hvl_devices); do
		[ -e "$d/driver" ] && n=$((n + 1))
	done
	[ "$n" -eq "$1" ]
}

# others NUMBER...: a peer at each of these links
others() {
	local r
	for number; do
		r=$(rproc "$number") || fail "no remote processor $number"
		[ "$(cat "$r/state")" = offline ] || continue
		printf '%s' "hvl-bench-other$number.elf" >"$r/firmware"
		echo start >"$r/state" || fail "link $number has no peer"
	done
}

# restart FIRMWARE COUNT: from loading the driver to all devices bound
restart() {
	rmmod virtio_hvl
	echo stop >"$(rproc)/state"
	FIRMWARE=$1 start_peer
	modprobe virtio_hvl
	tell_range
	wait_for 60 bound_devices "$2" || fail "not all $2 devices of $1 are bound"
	sleep 2
}

# Where the transport's code is, for those who count its instructions from outside. /bench/text has how
# many bytes it is.
tell_range() {
	local at
	at=$(cat /sys/module/virtio_hvl/sections/.text)
	$load range "$at" "$(printf '0x%x' $((at + $(cat /bench/text))))"
}

set_up() {
	restart "hvl-bench-$1.elf" "$2"
	linux
	cat "$(debugfs)/doorbell_rtt"
}

# The disks of the peer and of QEMU, and the console's port, by names that steps know
names() {
	local d name
	mkdir -p /dev/bench
	rm -f /dev/bench/*
	for d in /sys/block/vd*; do
		[ -e "$d" ] || continue
		case $(readlink -f "$d") in
		*virtio-hvl* | *virtio_hvl* | *.link/*) name=peer ;;
		*/pci*) name=pci ;;
		*) name=mmio ;;
		esac
		echo none >"$d/queue/scheduler"
		ln -s "/dev/${d##*/}" "/dev/bench/$name"
	done
	for d in /sys/class/virtio-ports/*; do
		! grep -qxF hvl.echo "$d/name" 2>/dev/null || ln -s "/dev/${d##*/}" /dev/bench/port
	done
}
named() { names && [ -b /dev/bench/peer ] && { ! bound 3 || [ -c /dev/bench/port ]; }; }

# part NAME COUNT OTHERS: its steps, with its own peer
part() {
	grep -q "^$1|" /bench/steps || return 0
	# shellcheck disable=SC2086 # a list of numbers
	others $3
	[ -z "$3" ] && ! grep -q "^$1|.*|disk " /bench/steps || modprobe virtio_blk || fail "no virtio_blk"
	restart "hvl-bench-${1// /-}.elf" "$2"
	echo "@setup $1" >>$LOG
	linux >>$LOG
	! bound 1 || net_up
	! bound 2 || wait_for 60 named || fail "no disk, or no port"
	rounds "$1"
}

# QEMU's own network devices, if a step goes over them
host_net() {
	local d net ours address
	! grep -qE '10[.]0[.]2[.]2|/bench/mmio' /bench/steps || modprobe virtio_mmio || fail "no virtio_mmio"
	grep -qF 10.0.2.2 /bench/steps || return 0
	ours=$(hvl_devices)
	for d in /sys/bus/virtio/devices/virtio*; do
		grep -qxF "$d" <<<"$ours" && continue
		[ $(($(cat "$d/device"))) -eq 1 ] || continue
		wait_for 20 [ -d "$d/net" ] || fail "$d is no network device"
		case $(readlink -f "$d") in
		*/pci*) address=10.0.3.15/24 ;;
		*) address=10.0.2.15/24 ;;
		esac
		net=$(basename "$d"/net/*)
		ip address add $address dev "$net"
		ip link set "$net" up
	done
}

# The last pages of the region are the peer's to leave out (size=).
bench_driver() {
	local start
	start=$(sed -n 's/^region-start: //p' "$(debugfs)/status")
	modprobe hvl_bench spare=$((start + $(cat /bench/linked)))
}

sysctl -q -w net.ipv4.ping_group_range="0 0"
export FIRMWARE=hvl-bench-link.elf
load_modules
modprobe vsock_loopback
tell_range
start_peer
wait_for 60 bound 19 || fail "no virtio-vsock device bound to its driver"
net_up
host_net
$load serve 0.0.0.0 7 9 19 1 >/dev/null &
sleep 1

uname -rv >$LOG
rounds link
kill $!
bench_driver || fail "hvl_bench.ko does not load"
while IFS='|' read -r name count numbers; do
	[ "$name" = link ] || part "$name" "$count" "$numbers" </dev/null
done </bench/parts
while read -r name count; do
	echo "@setup $name" >>$LOG
	set_up "$name" "$count" >>$LOG || exit 1
done </bench/setups
if dmesg | grep -E 'WARNING:|BUG:|Oops'; then
	fail "the kernel warned (above)"
fi
say "@packed"
gzip -9 <$LOG | base64
say "@end"
