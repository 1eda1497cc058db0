#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that lives and gives nothing back (fault=keep): it is said where the link is watched, once, and only of queues whose
# buffers come back; and a new attachment, by hand, begins afresh.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

LIMIT=1000
SAID="queue [0-9]+: the peer has given no buffer back for [0-9]+ ms, but lives"

stat_of() { debug stats | sed -n "s/^$1: //p"; }
said() { log_since | grep -cE "$SAID" || true; }
watch_link() { echo "$1" >"$DEBUGFS/$LINK/watchdog-ms"; }
recover_link() { echo 1 >"$DEBUGFS/$LINK/recover"; }

# kept DEVICES: the first of them keeps what it is sent.
kept() {
	fresh
	modprobe virtio_blk
	start_peer "$(patch_firmware keep "devices=$1 spin=0 fault=keep")"
	load
	wait_for "the link to be up" link_is up
	log_mark
}

# send_packets: more than it gives back. No answer comes for the later ones: to those it does get, it does.
send_packets() {
	net_up
	ping -q -c 60 -i 0.01 -W 1 $PEER_IP >/dev/null || true
}

off_by_default() {
	kept net,vsock
	[ "$(debug watchdog-ms)" = 0 ] || die "the limit is $(debug watchdog-ms)"
	send_packets
	nap 2
	[ "$(said)" = 0 ] || die "the log tells of a queue that nobody has watched"
	[ "$(stat_of stalled-queues)" = 0 ]
}

limits() {
	up
	local ms
	for ms in 99 600001 -1 x ''; do
		if (watch_link "$ms") 2>/dev/null; then die "the limit may be '$ms'"; fi
		[ "$(debug watchdog-ms)" = 0 ] || die "it is '$(debug watchdog-ms)' after '$ms'"
	done
	watch_link 100
	[ "$(debug watchdog-ms)" = 100 ]
	if (echo 2 >"$DEBUGFS/$LINK/recover") 2>/dev/null; then die "recover takes any number"; fi
	if (echo 1 >"$DEBUGFS/$LINK/status") 2>/dev/null; then die "status may be written"; fi
}

# A limit far below what nothing takes that happens: and nothing is said of queues that only wait to be sent something.
silence_is_normal() {
	up
	watch_link $LIMIT
	pings
	nap 3
	pings_answered 20 -i 0.05
	socat -u -b 65536 OPEN:/dev/zero,readbytes=4000000 TCP:$PEER_IP:9
	[ "$(said)" = 0 ] || die "the log tells of a queue of a peer that does what it should"
	[ "$(stat_of stalled-queues)" = 0 ]
}

noticed() {
	local state
	kept net,vsock
	watch_link $LIMIT
	send_packets
	expect_log "device 0 \\(virtio type 1\\): queue 1: the peer has given no buffer back for"
	nap 3
	[ "$(said)" = 1 ] || die "it was said $(said) times"
	[ "$(stat_of stalled-queues)" = 1 ] || die "it was counted $(stat_of stalled-queues) times"
	debug devices | grep -q 'queue 1: .* stalled' || die "debugfs does not show it: $(debug devices)"
	state=$(log_since | sed -nE "s/.*no buffer back for ([0-9]+) ms.*/\1/p")
	[ "$state" -ge $LIMIT ] || die "it was said after $state ms"
	link_is up
}

# Neither peer nor module is started anew: the same peer, with the same epoch, gets new queues.
recovered() {
	local before
	noticed
	before=$(epoch)
	recover_link
	expect_log "$LINK: a new attachment is asked for, removing its 2 devices"
	usable
	[ "$(epoch)" = "$before" ] || die "the epoch was $before, and is $(epoch)"
	pings_answered 60 -i 0.01
	[ "$(stat_of recoveries)" = 1 ]
	! debug devices | grep stalled || die "it is stalled still"
	expect_no_log "failed:"
}

# Whoever waits for the disk gets an error, and the disk comes again.
disk() {
	local pid
	kept "blk blk-queues=1"
	watch_link $LIMIT
	wait_for "the disk" test -b /dev/vda
	for ((i = 0; i < 30; i++)); do dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || break; done &
	pid=$!
	expect_log "device 0 \\(virtio type 2\\): queue [0-9]+: the peer has given no buffer back for"
	kill -0 $pid || die "nobody waits for the disk"
	recover_link
	in_time "$DEADLINE" gone_by_now $pid
	wait_for "the link to be up" link_is up
	wait_for "the disk" test -b /dev/vda
	in_time "$DEADLINE" dd if=/dev/vda of=/dev/null bs=4k count=16 iflag=direct
}
gone_by_now() { while kill -0 "$1" 2>/dev/null; do nap 0.05; done; }

recovered_times() { [ "$(stat_of recoveries)" -ge "$1" ]; }

# Again and again, with traffic, the peer's good queues among them.
often() {
	local i begin
	up
	begin=$(stat_of recoveries)
	for ((i = 0; i < $(by_tier 3 30); i++)); do
		ping -q -i 0.01 -w "$PATIENCE" $PEER_IP >/dev/null 2>&1 &
		recover_link
		wait_for "the new attachment" recovered_times $((begin + i + 1))
		usable
		kill $! 2>/dev/null || true
	done
}

without_peer() {
	fresh
	load
	wait_for "the link to wait" link_is waiting
	if (recover_link) 2>/dev/null; then die "there is nothing to recover"; fi
	link_is waiting
}

add "a link is not watched by itself" 60 off_by_default
add "what the files take" 60 limits
add "of a peer that does what it should nothing is said" 60 silence_is_normal
add "a peer that gives nothing back is noticed, once" 60 noticed
add "and recovered by hand: a new attachment" 90 recovered
add "a disk whose requests do not come back" 90 disk
add "a new attachment, again and again" 120 often
add "none where there is no peer" 60 without_peer
run_tests
