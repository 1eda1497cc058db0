#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that a boot loader has started, on a kernel that knows nothing of remote processors: virtio_hvl needs none of
# that, psci_rproc is not loaded here (and is not there on a kernel without remoteproc).
# shellcheck source=lib.sh
NO_RPROC=1
. "$(dirname "$0")/lib.sh"

# The peer stays as it is: it is the one from before Linux, and has the epoch of its first boot.
works() {
	modprobe virtio_net
	modprobe vmw_vsock_virtio_transport
	load
	usable
	[ "$(epoch)" = 1 ] || die "the epoch is $(epoch), not that of the peer's first boot"
	[ ! -d /sys/module/psci_rproc ] || die "psci_rproc is loaded"
}

transfers() {
	local bytes=$((8 << 20)) want protocol
	works
	want=$(chargen_data $bytes | crc32)
	for protocol in TCP:$PEER_IP:19 VSOCK-CONNECT:$PEER_CID:19; do
		[ "$(bytes_of $bytes "$protocol" | crc32)" = "$want" ] || die "$protocol: the data is not what was sent"
	done
	data 4 >"$TMP/data"
	for protocol in TCP:$PEER_IP:7 VSOCK-CONNECT:$PEER_CID:7; do
		exchange "$protocol" "$TMP/data" "$TMP/got"
	done
}

comes_again() {
	local i
	for ((i = 0; i < $(by_tier 3 20); i++)); do
		works
		unload
		nothing_left
	done
	expect_log "peer attached: epoch 1,"
}

add "its devices work" 60 works
add "data both ways, by TCP and vsock" 120 transfers
add "virtio_hvl goes and comes again: the same peer" 120 comes_again
run_tests
