#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The self-test of the link: each doorbell broken on purpose, and which one is named.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

TO_PEER='(Linux[- ]to[- ]peer|to the peer)'
TO_LINUX='(peer[- ]to[- ]Linux|from the peer|to Linux)'
DEAD='(dead|does not|not work|broken|no interrupt|did not)'

both_work() {
	fresh
	start_peer
	load
	wait_for "the link to be up" link_is up
	expect_no_log "$LINK: .*($TO_PEER|$TO_LINUX).*$DEAD"
	usable
}

# Linux writes to a register bit that no core listens to.
to_peer_dead() {
	fresh
	apply_overlay doorbell-wrong
	start_peer
	load
	expect_log "$LINK: .*$TO_PEER.*$DEAD"
	expect_no_log "$LINK: .*$TO_LINUX.*$DEAD"
	# The log says what to check.
	expect_log "$LINK: .*doorbell"
	unload
	stop_peer
	remove_overlays
	nothing_left
}

to_linux_dead() {
	fresh
	start_peer "$(patch_firmware noring "devices=net,vsock fault=noring")"
	load
	expect_log "$LINK: .*$TO_LINUX.*$DEAD"
	expect_no_log "$LINK: .*$TO_PEER.*$DEAD"
	expect_log "$LINK: .*interrupt"
	unload
	stop_peer
	nothing_left
}

# The peer neither hears the doorbell nor looks by itself.
deaf() {
	fresh
	start_peer "$(patch_firmware deaf "devices=net,vsock fault=deaf")"
	load
	expect_log "$LINK: .*(peer|doorbell).*(answer|dead|$DEAD)"
	! link_is up || die "the link is up"
	no_devices
	unload
	stop_peer
	nothing_left
}

mended() {
	up
	ping -q -c 100 -i 0.002 $PEER_IP | grep ' 100 received, 0% packet loss' >/dev/null
}

add "both doorbells work: nothing to complain about" 60 both_work
add "Linux to peer dead: the log says so" 60 to_peer_dead
add "peer to Linux dead: the log says so" 60 to_linux_dead
add "peer hears nothing: the log says so" 60 deaf
add "all works again afterwards" 60 mended
run_tests
