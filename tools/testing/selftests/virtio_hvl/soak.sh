#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# For as long as is asked for, things happen to the link at random (by a seed), with verified data on its way by TCP,
# sockets, a port of the console, and to a disk and back: the peer is restarted, crashes, hangs up, is replaced; the driver
# is reloaded, unbound; Linux sleeps. It is told how long the link was away, and what was lost: a connection that breaks
# says so, and what has come by then is right.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

LENGTH=${HVL_SOAK:-$(by_tier 12 1800)}
# It goes on for longer if by then less than that was carried, in MiB.
LEAST=${HVL_SOAK_MIB:-0}
# Between two events it does for less than so many seconds what it is there for.
CALM=${HVL_CALM:-1}
# KiB of a round: one of these.
SIZES=(256)
[ "$LENGTH" -lt 60 ] || SIZES+=(2048 16384)
RANDOM=${HVL_SEED:-1}
read -ra EVENTS <<<"${HVL_EVENTS:-restart crash replace reload rebind asleep}"
ALARM=/sys/class/rtc/rtc0/wakealarm
DRIVER=/sys/bus/platform/drivers/virtio_hvl
TIMES=$TMP/times
DONE=$TMP/done
# The sample peer's disk has 64 KiB.
ON_DISK=32768

goes_on() { [ ! -e "$TMP/enough" ]; }

# carried NAME BYTES ALL: so many of all have come.
carried() {
	if [ "$2" -eq "$3" ]; then
		echo "$1 whole $2" >>"$DONE"
	else
		echo "$1 part $2" >>"$DONE"
		nap 0.2
	fi
}

# round NAME ADDRESS: some data there and back. A whole round is all of it; one that breaks off is the beginning of it. (A
# connection of TCP's does not end with its interface: it would wait for minutes, so it has to show signs of life.)
round() {
	local got=$TMP/got.$1 all=$((SIZES[RANDOM % ${#SIZES[@]}] << 10)) size
	local data=$TMP/data.$all
	rm -f "$got"
	: >"$got"
	HVL_SEND=$data HVL_GET=$got timeout $((5 + (all >> 18))) socat "$2" EXEC:"$HERE/both_ways.sh",nofork 2>/dev/null || true
	size=$(stat -c %s "$got")
	cmp -n "$size" "$got" "$data" || die "$1: what came is not what was sent: $(differs "$got" "$data")"
	[ "$size" -le "$all" ] || die "$1: more has come than was sent"
	carried "$1" "$size" "$all"
}

# carries NAME ADDRESS: again and again.
carries() { while goes_on; do round "$1" "$2,connect-timeout=2"; done; }
KEEPALIVE=keepalive,keepidle=1,keepintvl=1,keepcnt=4,setsockopt-int=6:18:5000

# The same by the console's port, while there is one.
carries_port() {
	while goes_on; do
		if port; then round console "OPEN:$DEV"; else nap 0.2; fi
	done
}

# The same to a disk and from it, other data each time: what was there before is not to pass for it. It is empty after each
# boot of the peer's, so what it has is looked at if the peer is the one that took it.
carries_disk() {
	local size before round
	for ((round = 0; ; round++)); do
		goes_on || break
		size=0
		dd if="$TMP/data" of="$TMP/put.disk" bs=$ON_DISK skip=$((round % 7)) count=1 status=none
		before=$(epoch 2>/dev/null) || before=
		if [ "$before" ] && disk_does && [ "$(epoch 2>/dev/null)" = "$before" ]; then
			cmp "$TMP/got.disk" "$TMP/put.disk" || die "the disk has another thing than was written"
			size=$ON_DISK
		fi
		carried disk "$size" $ON_DISK
	done
}
disk_does() {
	[ -b /dev/vda ] &&
		timeout 20 dd if="$TMP/put.disk" of=/dev/vda bs=$ON_DISK count=1 oflag=direct conv=nocreat,notrunc &&
		timeout 20 dd if=/dev/vda of="$TMP/got.disk" bs=$ON_DISK count=1 iflag=direct &&
		[ "$(stat -c %s "$TMP/got.disk")" -eq $ON_DISK ]
} 2>/dev/null

works() {
	local dev
	dev=$(netdev) && [ -n "$dev" ] || return 1
	ip -br addr show dev "$dev" | grep -q "$OUR_IP" ||
		printf '%s\n' "addr add $OUR_IP/24 dev $dev" "link set $dev up" | ip -batch - 2>/dev/null || return 1
	pings
}

# happens WHAT: and how long it takes until the link works again, from its end on.
happens() {
	local what=$1 begin
	echo "soak: $what" >/dev/kmsg
	"$what"
	begin=${EPOCHREALTIME/./}
	wait_for "the link to work after: $what" works
	echo "$what $(((${EPOCHREALTIME/./} - begin) / 1000))" >>"$TIMES"
}

restart() {
	stop_peer
	start_peer "$(cat "$(rproc)/firmware")"
}
crash() {
	local before
	before=$(epoch)
	echo 1 >"$(rproc_debug)/crash"
	wait_for "the peer to be started again" newer_than "$before"
}
newer_than() { link_is up && [ "$(epoch)" != "$1" ]; }
replace() {
	stop_peer
	start_peer "hvl-soak$((RANDOM % 2)).elf"
}
reload() {
	in_time 60 rmmod virtio_hvl
	load
}
rebind() {
	echo "$LINK" >$DRIVER/unbind
	echo "$LINK" >$DRIVER/bind
}
asleep() {
	local count
	count=$(cat /sys/power/wakeup_count)
	echo 0 >"$ALARM"
	echo +3 >"$ALARM"
	# (An alarm that comes before that keeps Linux awake.)
	{ echo "$count" >/sys/power/wakeup_count && echo freeze >/sys/power/state; } || true
}

# percentile P: of the times.
percentile() { cut -d ' ' -f 2 "$TIMES" | sort -n | awk -v p="$1" '{ t[NR] = $1 } END { n = int((NR - 1) * p / 100 + 0.5) + 1; print t[n] }'; }
carried_all() { awk '{ sum += $3 } END { printf "%d", sum / 1048576 }' "$DONE"; }
sum() { awk -v what="$1" -v name="$2" '$1 == what && $2 == name { n++; sum += $3 } END { printf "%d (%d MiB)", n, sum / 1048576 }' "$DONE"; }

soak() {
	local end jobs=() job what
	fresh
	modprobe -a virtio_blk virtio_console
	for what in 0 1; do patch_firmware soak$what "devices=net,vsock,blk,console" >/dev/null; done
	data 16 >"$TMP/data"
	for what in "${SIZES[@]}"; do head -c "${what}K" "$TMP/data" >"$TMP/data.$((what << 10))"; done
	truncate -s 256K "$TMP/data"
	: >"$TIMES"
	: >"$DONE"
	start_peer hvl-soak0.elf
	load
	usable
	carries tcp TCP:$PEER_IP:7,$KEEPALIVE &
	jobs+=($!)
	carries vsock VSOCK-CONNECT:$PEER_CID:7 &
	jobs+=($!)
	carries_disk &
	jobs+=($!)
	carries_port &
	jobs+=($!)
	end=$((SECONDS + LENGTH))
	while [ $SECONDS -lt $end ] || [ "$(carried_all)" -lt "$LEAST" ]; do
		for job in "${jobs[@]}"; do kill -0 "$job" 2>/dev/null || die "data was not right"; done
		what=${EVENTS[RANDOM % ${#EVENTS[@]}]}
		if [ "$what" != asleep ] || [ -w "$ALARM" ]; then happens "$what"; fi
		nap $((RANDOM % CALM)).$((RANDOM % 10))
	done
	touch "$TMP/enough"
	for job in "${jobs[@]}"; do wait "$job" || die "data was not right"; done
	say "$(cut -d ' ' -f 1 "$TIMES" | sort | uniq -c | awk '{ printf "%s%d %s", sep, $1, $2; sep = ", " }')"
	say "until it works again: $(percentile 0) ms, median $(percentile 50), 99% $(percentile 99), at most $(percentile 100)"
	for what in tcp vsock disk console; do
		say "$what: transfers that were whole: $(sum $what whole); that broke off, and were right so far: $(sum $what part)"
	done
	[ "$(wc -l <"$TIMES")" -ge 1 ] || die "little has happened"
	# In the end all of it goes through.
	exchange TCP:$PEER_IP:7 "$TMP/data" "$TMP/got.tcp"
	exchange VSOCK-CONNECT:$PEER_CID:7 "$TMP/data" "$TMP/got.vsock"
	wait_for "the disk" disk_does
	cmp "$TMP/got.disk" "$TMP/put.disk"
	# (On 7.2 there is none: threat-model.rst.)
	if bound 3; then
		wait_for "the console's port" port
		exchange "OPEN:$DEV" "$TMP/data" "$TMP/got.console"
	fi
	unload
	nothing_left
	stop_peer
}

add "$LENGTH s of all that can happen, seed ${HVL_SEED:-1}" $((LENGTH * 4 + 300)) soak
run_tests
