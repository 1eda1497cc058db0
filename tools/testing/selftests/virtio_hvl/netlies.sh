#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A network device that lies in its own words: in the headers of frames, the answers to commands, and
# its configuration. Linux goes on, and the log stays calm.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

lies_told() { trace | grep -q 'net: lies of itself'; }

# begin FAULTS [WORD...]: a peer with these, and its network device in use.
begin() {
	local firmware
	firmware=$(patch_firmware netlies "devices=net,vsock fault=$1 ${*:2}")
	fresh
	load
	start_peer "$firmware"
	wait_for "the link to be up" link_is up
	net_up
}

lying() {
	begin "$@"
	wait_for "the lies" lies_told
}

# Lines about the device, and all lines.
calm() {
	local lines
	lines=$(log_since | wc -l)
	echo "$lines lines in the log"
	[ "$lines" -lt 150 ] || die "the log is flooded: $lines lines"
	expect_no_log "$LINK: device [01] .* failed"
}

# All is well with everything but the lies.
go_on() {
	calm
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ] ||
		die "vsock echo gives nothing or another thing back"
	ip link set "$(netdev)" down
	unload
	nothing_left
}

# errors: frames that virtio_net did not take.
errors() {
	local dir
	dir=/sys/class/net/$(netdev)/statistics
	cat "$dir/rx_length_errors" "$dir/rx_frame_errors" | awk '{ sum += $1 } END { print sum }'
}

# Each fourth frame to Linux is not what its header says. Some of the others come all the same.
headers() { # FAULTS
	local got before
	lying "$1"
	before=$(errors)
	got=$(ping -n -i 0.005 -c 400 -W 1 $PEER_IP | grep -c 'bytes from') || true
	echo "$got of 400 pings answered, $(errors) errors, $before before"
	[ "$got" -gt 40 ] || die "next to nothing comes any more: $got of 400"
	[ "$(errors)" -gt "$before" ] || die "virtio_net has noticed nothing"
	go_on
}

# Answers that are none are refusals, and there is a limit to how often one is asked for.
answers() {
	local dev i failed
	lying net-answer,net-announce net-queues=2
	dev=$(netdev)
	for i in 1 2 3 4 5; do
		ip link set "$dev" promisc on
		ip link set "$dev" promisc off
		! ip link set "$dev" address 02:00:00:00:00:07 2>/dev/null || die "the address is another one"
		! ethtool -K "$dev" rx-gro-hw off 2>/dev/null || true
	done
	sleep 10
	wait_for "an answer to a ping" pings
	failed=$(log_since | grep -c 'Failed to ack link announce') || true
	[ "$failed" -gt 0 ] || die "no announcement was asked for"
	[ "$failed" -lt 40 ] || die "$failed announcements"
	go_on
}

# Asked to announce itself without a control queue, virtio_net has a BUG; it is not asked.
words() {
	local i
	lying net-announce,net-flap,net-mtu
	for ((i = 0; i < ${HVL_LONG:+10}5; i++)); do
		ip link set "$(netdev)" down
		ip link set "$(netdev)" up
		sleep 1
	done
	wait_for "an answer to a ping" pings
	[ "$(cat "/sys/class/net/$(netdev)/mtu")" = 1500 ] || die "the mtu is $(cat "/sys/class/net/$(netdev)/mtu")"
	go_on
}

# Pairs of queues that are not there: there is one, and the control queue is where it then is.
pairs() { # FAULT VALUE
	begin "$1" net-queues=2
	expect_log "$LINK: device 0 .virtio type 1.: feature bit 22 with max_virtqueue_pairs $2 needs [0-9]+ queues, QueueCount is 5"
	wait_for "an answer to a ping" pings
	[ "$(ethtool -l "$(netdev)" | awk '/^Combined:/ { print $2 }' | head -n 1)" = 1 ]
	ip link set "$(netdev)" address 02:00:00:00:00:07
	wait_for "an answer to a ping" pings
	go_on
}

honest_again() {
	fresh
	start_peer
	load
	usable
	pings_answered 20 -i 0.005
}

add "a frame in 65535 buffers" 120 headers net-num-most
add "headers with nonsense" 120 headers net-csum,net-gso,net-short
if [ -n "${HVL_LONG:-}" ]; then
	add "a frame in no buffer" 120 headers net-num-none
	add "a frame in one buffer more" 120 headers net-num-more
	add "places of a checksum" 120 headers net-csum
	add "ways to cut" 120 headers net-gso
	add "a used length below the header's" 120 headers net-short
	add "no pair of queues" 120 pairs net-pairs-none 0
	add "65535 pairs of queues" 120 pairs net-pairs-most 65535
fi
add "answers to commands that are none" 180 answers
add "a link that goes up and down, an mtu that is none, announcements without a way to answer" 180 words
add "a pair of queues that is not there" 120 pairs net-pairs-more 3
add "an honest peer works afterwards" 120 honest_again
run_tests
