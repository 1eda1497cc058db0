#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Nothing that Linux gives to the peer lies outside of the region: the peer checks every
# address and counts. A peer that takes the pool for smaller than it is shows that the
# counter counts.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# The peer's counters, by HTTP, or from its log where the network does not work.
counter() { # NAME
	curl -sS -m "$DEADLINE" http://$PEER_IP/ | sed -n "s/^$1: \([0-9]*\)$/\1/p"
}

traffic() {
	net_up
	ping -q -c 200 -i 0.002 -s 1400 $PEER_IP
	echoed TCP:$PEER_IP:7 4
	echoed VSOCK-CONNECT:$PEER_CID:7 4
}

none_outside() {
	fresh
	up
	traffic
	[ "$(counter outside)" = 0 ] || die "outside: $(counter outside)"
	[ "$(counter violations)" = 0 ] || die "violations: $(counter violations)"
}

none_outside_after_reload() {
	unload
	load
	usable
	traffic
	[ "$(counter outside)" = 0 ] || die "outside: $(counter outside)"
}

peer_log() { cat "/sys/kernel/debug/remoteproc/$(basename "$(rproc)")/trace0"; }

# Each device still fits into the eighth or not: the log counts for both.
counter_counts() {
	local firmware
	firmware=$(patch_firmware outside "devices=net,vsock fault=outside")
	fresh
	start_peer "$firmware"
	load
	wait_for "the link to be up" link_is up
	wait_for "the peer to see an address outside" eval 'peer_log | grep -i outside >/dev/null'
	unload
	nothing_left
	stop_peer
}

add "no address outside the region after traffic" 120 none_outside
add "nor after the driver was loaded anew" 120 none_outside_after_reload
add "the peer would see one" 60 counter_counts
run_tests
