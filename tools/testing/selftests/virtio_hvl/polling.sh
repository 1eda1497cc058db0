#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Links without an interrupt in one direction or both: who cannot be rung looks by itself, often while
# there is something, and seldom when there is not.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

MIB=2
[ -z "${HVL_LONG:-}" ] || MIB=64

# The machine's own link waits for a peer meanwhile: the one that polls has a region of its own.
REGION="region=0x7d000000 size=0x100000"
OWN=$LINK
polling_link() { basename /sys/bus/platform/devices/*virtio-hvl-7; }

# begin OVERLAY WHO PEER-WORDS: such a link is up.
begin() {
	[ -e /proc/device-tree/__symbols__/hvl_test_spare ] ||
		skip "the machine was booted without test-regions.dtbo"
	LINK=$OWN
	fresh
	apply_overlay "$1"
	LINK=$(polling_link)
	start_peer "$(patch_firmware polling "devices=net,vsock $REGION $3")"
	load
	usable
	expect_log "$LINK: peer attached: .* doorbell round trip [0-9]+ us, $2\$"
	[ "$(debug status | sed -n 's/^polled: //p')" = "$2" ]
}

end() {
	unload
	stop_peer
	remove_overlays
	nothing_left
}

counter() { debug stats | sed -n "s/^$1: //p"; }
peer_sleeps() { curl -sS -m "$PATIENCE" http://$PEER_IP/ | sed -n 's/^passes: .* slept \([0-9]*\) times.*/\1/p'; }

works() {
	pings_answered 50 -i 0.01
	echoed VSOCK-CONNECT:$PEER_CID:7 1
	echoed TCP:$PEER_IP:7 1
	[ "$(bytes_of $((MIB << 20)) TCP:$PEER_IP:19 | crc32)" = "$(chargen_data $((MIB << 20)) | crc32)" ]
	data "$MIB" | socat -u -b 65536 - TCP:$PEER_IP:9
}

# seldom COMMAND MICROSECONDS: what it counts when nothing happens is no more than one in each such
# time, but for the looks that it takes to get there, and what a kernel says on a network by itself.
seldom() {
	local before after begun ended most
	sleep 1
	begun=$(cut -d. -f1 /proc/uptime)
	before=$($1)
	sleep 3
	after=$($1)
	ended=$(cut -d. -f1 /proc/uptime)
	most=$(((ended - begun + 1) * 1000000 / $2 + 300))
	echo "$1: $((after - before)) looks in $((ended - begun)) s, at most $most"
	[ $((after - before)) -le $most ] || die "looked $((after - before)) times, should be at most $most"
	[ "$after" -gt "$before" ] || die "nobody looks"
}

polls() { counter polls; }

linux_polls() {
	begin poll-linux "Linux polls" irq-out=none
	grep -q '^poll-interval-us: 100 20000$' <(debug status) || die "not the node's interval: $(debug status)"
	! grep -F virtio-hvl /proc/interrupts | grep -v ' 132 ' || die "it has an interrupt"
	works
	[ "$(counter interrupts)" -eq 0 ] || die "there were interrupts"
	seldom polls 20000
}

peer_polls() {
	begin poll-peer "the peer polls" "irq-in=none irq-out=142 poll=100,20000"
	works
	[ "$(counter polls)" -eq 0 ] || die "Linux looks although it is rung"
	[ "$(counter interrupts)" -gt 0 ] || die "there were no interrupts"
	# Its heart beats ten times a second, too.
	seldom peer_sleeps 15000
}

both_poll() {
	begin poll-both "both sides poll" "irq-in=none irq-out=none"
	grep -q '^poll-interval-us: 50 4000$' <(debug status) || die "not the default interval: $(debug status)"
	works
	[ "$(counter interrupts)" -eq 0 ] || die "there were interrupts"
	seldom polls 4000
	seldom peer_sleeps 3800
}

# Nobody says that the peer has stopped or started but the region itself.
restarted() {
	local first
	LINK=$(polling_link)
	[ -e "$DEBUGFS/$LINK" ] || skip "there is no link that polls"
	first=$(epoch)
	stop_peer
	wait_for "the devices to go" no_devices
	wait_for "the link to wait" link_is waiting
	# There is nobody to look at.
	sleep 1
	local before
	before=$(polls)
	sleep 2
	[ "$(polls)" -le $((before + 2)) ] || die "$(($(polls) - before)) looks without a peer"
	start_peer hvl-polling.elf
	usable
	[ "$(epoch)" != "$first" ]
	pings_answered 20 -i 0.01
	end
}

add "Linux polls: all works, and it looks seldom when idle" 120 linux_polls
add "the peer is stopped and started while Linux polls" 60 restarted
add "the peer polls: all works, and it looks seldom when idle" 120 peer_polls
add "the peer is stopped and started while it polls" 60 restarted
add "both poll: all works without any interrupt" 120 both_poll
add "the peer is stopped and started while both poll" 60 restarted
run_tests
