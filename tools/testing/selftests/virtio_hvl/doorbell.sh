#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The self-test of the link: each doorbell broken on purpose, and which one is named.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

TO_PEER='the doorbell from Linux to the peer is dead'
TO_LINUX='the doorbell from the peer to Linux is dead'

both_work() {
	fresh
	start_peer
	load
	wait_for "the link to be up" link_is up
	expect_log "$LINK: peer attached: .* doorbell round trip [0-9]+ us"
	expect_no_log "$LINK: link test failed"
	[ "$(debug status | sed -n 's/^link-test-ns: //p')" -gt 0 ]
	usable
}

# One complaint, no devices.
refused() {
	wait_for "the link to be refused" link_is refused
	[ "$(log_since | grep -c "$LINK: link test failed")" -eq 1 ]
	no_devices
}

# Linux writes to a register bit that no core listens to.
to_peer_dead() {
	fresh
	apply_overlay doorbell-wrong
	start_peer
	load
	expect_log "$LINK: link test failed: $TO_PEER: .*check .*reg and virtio-hvl,doorbell-value"
	refused
	unload
	stop_peer
	remove_overlays
	nothing_left
}

to_linux_dead() {
	local firmware
	firmware=$(patch_firmware noring "devices=net,vsock fault=noring")
	fresh
	start_peer "$firmware"
	load
	expect_log "$LINK: link test failed: $TO_LINUX: .*check .*interrupts"
	refused
	unload
	stop_peer
	nothing_left
}

# The peer has not enabled its interrupt; it looks by itself now and then.
deaf() {
	local firmware
	firmware=$(patch_firmware deaf "devices=net,vsock fault=deaf")
	fresh
	start_peer "$firmware"
	load
	expect_log "$LINK: link test failed: $TO_PEER: .*check .*that the peer has enabled"
	refused
	unload
	stop_peer
	nothing_left
}

mended() {
	up
	pings_answered 100 -i 0.002
}

add "both doorbells work: nothing to complain about" 60 both_work
add "Linux to peer dead: the log says so" 60 to_peer_dead
add "peer to Linux dead: the log says so" 60 to_linux_dead
add "peer's interrupt off: the log says so" 60 deaf
add "all works again afterwards" 60 mended
run_tests
