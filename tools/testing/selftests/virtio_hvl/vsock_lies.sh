#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer whose socket device lies in its own words, to whoever is connected to port 7: Linux goes on, every
# call of theirs comes to an end, other sockets and devices work, and so does an honest peer afterwards.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=4
[ -z "${HVL_LONG:-}" ] || ROUNDS=60

lies_told() { trace | grep -q 'vsock: telling lies'; }

# An honest stream beside them: what the peer has to say of it is right.
honest() {
	local want got
	want=$(chargen_data $((1 << 20)) | crc32)
	got=$(bytes_of $((1 << 20)) VSOCK-CONNECT:$PEER_CID:19 | crc32)
	[ "$got" = "$want" ] || die "should be $want, got $got"
}

# lied FAULT [STREAMS]: where all connections suffer, honest ones are not looked at.
lied() {
	local firmware kind pids=()
	[ -x "$HERE/messages" ] || skip "no $HERE/messages: run make"
	firmware=$(patch_firmware lies "devices=net,vsock fault=$1")
	fresh
	load
	start_peer "$firmware"
	wait_for "the link to be up" link_is up
	net_up
	wait_for "vsock to be bound" bound 19
	for kind in stream message; do
		"$HERE/messages" lied $kind $ROUNDS &
		pids+=($!)
	done
	[ "${2:-}" = all ] || honest
	wait_for "an answer to a ping" pings
	for kind in "${pids[@]}"; do wait "$kind"; done
	lies_told || die "the peer has told no lies"
	[ "${2:-}" = all ] || honest
	# Whatever it says in packets is no fault of its rings.
	expect_no_log "$LINK: device [01] .* failed"
	wait_for "an answer to a ping" pings
	unload
	nothing_left
	stop_peer
}

honest_peer() {
	start_peer
	load
	usable
	"$HERE/messages" echo 20
}

add "credit that cannot be" 120 lied vsock-credit
add "less was taken than was said before" 120 lied vsock-back
add "context ids that are nobody's" 120 lied vsock-cid
add "ports that are nobody's" 120 lied vsock-port
add "another type of socket" 120 lied vsock-type
add "any operation" 120 lied vsock-op
add "lengths beyond the packet and the buffer" 120 lied vsock-length
add "ends of messages that are none" 120 lied vsock-ends
add "resets all the time" 120 lied vsock-resets
add "requests all the time" 120 lied vsock-requests all
add "events that say that all connections are gone" 120 lied vsock-events all
add "anything" 120 lied vsock-noise
add "an honest peer afterwards" 60 honest_peer
run_tests
