#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Nothing that Linux gives to the peer lies outside of the region: the peer checks every
# address and counts. That it does is shown by a driver that hands out other ones, and by a
# peer that takes the pool for smaller than it is.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

STRAY=/sys/kernel/debug/hvl_overlay/stray

page() { curl -sS -m "$PATIENCE" http://$PEER_IP/; }
# counter NAME: one of the peer's
counter() { page | sed -n "s/^$1: \([0-9]*\)$/\1/p"; }
counter_is() { [ "$(counter "$1")" = "$2" ]; }
# How many buffers the peer has taken from the queue on which vsock sends.
taken() { page | awk '/^vsock: status/ { own = 1 } own && $1 == "queue" && $2 == "1:" { print $6; exit }'; }
taken_is() { [ "$(taken)" = "$1" ]; }

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


fields() { debug status | sed -n "s/^$1: *//p"; }

# give ADDRESS: 64 bytes there, to be sent by the vsock device, which has no other driver.
give() { printf '0x%x\n' "$1" >"$STRAY"; }

# An address that nobody has mapped, of Linux's own memory or of the region, is not passed on.
stray_refused() {
	local first address before
	modprobe hvl_overlay || skip "no module hvl_overlay: README.rst says where it comes from"
	up
	first=$(($(fields peer-base) + $(fields pool-offset)))
	for address in 0 0x40000000 "$first" 0xffffffffffffffc0; do
		fresh
		up
		modprobe hvl_overlay
		unload_vsock
		before=$(taken)
		log_mark
		give "$address"
		expect_log "device 1 .virtio type 19. failed: queue 1: the driver offers address $(printf '0x%x' "$address"),"
		counter_is outside 0
		counter_is violations 0
		taken_is "$before"
		# The other device of the link is as it was.
		wait_for "an answer to a ping" pings
		remove_overlays
	done
	modprobe vmw_vsock_virtio_transport
	fresh
	up
}

refuses() { trace | grep -E 'queue [0-9]: 0x[0-9a-f]+\+0x[0-9a-f]+ lies outside the pool'; }

# The rings lie beyond the eighth that it believes in: Linux cannot use any device.
believes_less() {
	local firmware
	firmware=$(patch_firmware outside "devices=net,vsock fault=outside")
	fresh
	start_peer "$firmware"
	load
	wait_for "the link to be up" link_is up
	wait_for "the peer to refuse a queue" refuses
	! bound 1 || die "virtio_net took a device that does not work"
	! bound 19 || die "vsock took a device that does not work"
	unload
	nothing_left
	stop_peer
}

add "no address outside the region after traffic" 120 none_outside
add "nor after the driver was loaded anew" 120 none_outside_after_reload
add "an address that was not mapped goes nowhere" 120 stray_refused
add "a peer that believes in a smaller pool uses nothing beyond" 60 believes_less
run_tests
