#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Linux sleeps and wakes up (suspend to idle, for real; the later steps of a deeper one by pm_test), with data on its
# way. The peer goes on meanwhile; one that dies then is noticed afterwards. A clock wakes Linux (rtc0).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ALARM=/sys/class/rtc/rtc0/wakealarm
SLEEPS=$(by_tier 2 100)
MIB=4

# asleep SECONDS: Linux is, for so long. An alarm that comes before it has gone to sleep keeps it from that
# (wakeup_count), and not from waking up.
asleep() {
	local before after count
	[ -w "$ALARM" ] && grep -qw freeze /sys/power/state || skip "no clock that wakes, or no suspend to idle"
	before=$(date +%s)
	count=$(cat /sys/power/wakeup_count)
	echo 0 >"$ALARM"
	echo +$(($1 + 2)) >"$ALARM"
	{ echo "$count" >/sys/power/wakeup_count && echo freeze >/sys/power/state; } || die "Linux does not go to sleep"
	after=$(date +%s)
	echo 0 >"$ALARM"
	[ $((after - before)) -ge "$1" ] || die "it was $((after - before)) s, should be $1"
}

sleeps() { cat /sys/power/suspend_stats/success; }

# same COMMAND...: the link is the same afterwards, with the same interface, and so are the books.
same() {
	local before after
	before="$(epoch) $(netdev) $(cat "/sys/class/net/$(netdev)/ifindex") $(debug stats | grep -E '^(attachments|errors-)')"
	"$@"
	after="$(epoch) $(netdev) $(cat "/sys/class/net/$(netdev)/ifindex") $(debug stats | grep -E '^(attachments|errors-)')"
	[ "$before" = "$after" ] || die "before: $before; after: $after"
}

# A connection of each kind goes on where it was, and nothing of it is lost.
on_its_way() {
	local job jobs=()
	rm -f "$TMP/enough"
	exchange TCP:$PEER_IP:7 "$TMP/data" "$TMP/got.tcp" &
	jobs+=($!)
	exchange VSOCK-CONNECT:$PEER_CID:7 "$TMP/data" "$TMP/got.vsock" &
	jobs+=($!)
	(while [ ! -e "$TMP/enough" ]; do dd if=/dev/vda of=/dev/null bs=16k count=4 iflag=direct 2>/dev/null || exit 1; done) &
	jobs+=($!)
	nap 0.1
	"$@"
	touch "$TMP/enough"
	for job in "${jobs[@]}"; do wait "$job" || die "what was on its way did not go on"; done
}

# (Linux remembers files of firmware over a sleep, and for ten seconds more: each has a name of its own.)
start() {
	local words=${1-}
	fresh
	modprobe virtio_blk
	start_peer "$(patch_firmware "suspend-${words#*=}" "devices=net,vsock,blk $*")"
	load
	usable
	wait_for "virtio_blk to be bound" bound 2
	data $MIB >"$TMP/data"
}

again_and_again() {
	local i before
	start
	before=$(sleeps)
	for ((i = 0; i < SLEEPS; i++)); do
		same on_its_way asleep 2
		pings_answered 5 -i 0.01
	done
	[ $(($(sleeps) - before)) -eq "$SLEEPS" ] || die "it has slept $(($(sleeps) - before)) times"
}

# Longer than any deadline of the link: to have been asleep is nobody's silence.
for_long() {
	start
	same asleep 8
	pings_answered 20 -i 0.01
	expect_no_log "$LINK: .*(silent|failed|removing)"
}

# Devices, interrupts and clocks go through all of a deeper sleep, but for the last step.
deeper() {
	local step
	[ -w /sys/power/pm_test ] || skip "a kernel without CONFIG_PM_DEBUG"
	[ ! -w /sys/module/suspend/parameters/pm_test_delay ] || echo 1 >/sys/module/suspend/parameters/pm_test_delay
	start
	for step in devices platform; do
		echo $step >/sys/power/pm_test
		same on_its_way sh -c 'echo mem >/sys/power/state'
		echo none >/sys/power/pm_test
		pings_answered 5 -i 0.01
	done
}

died_meanwhile() {
	start fault=vanish
	recovery disabled
	asleep 6
	wait_for "the devices of the dead peer to go" no_devices
	stop_peer
	recovery enabled
	start_peer
	usable
}

stopped_meanwhile() {
	local first
	start
	first=$(epoch)
	same asleep 2
	stop_peer
	wait_for "the devices to go" no_devices
	start_peer
	usable
	[ "$(epoch)" != "$first" ] || die "it is the old peer"
	asleep 2
	unload
	nothing_left
}

add "asleep $SLEEPS times, with data on its way" "$(by_tier 180 1800)" again_and_again
add "asleep for longer than any deadline" 120 for_long
add "devices asleep as in a deeper sleep" 120 deeper
add "a peer that dies meanwhile" 120 died_meanwhile
add "another peer, and no driver, after a sleep" 120 stopped_meanwhile
run_tests
