#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that is a vsock device and nothing else.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

only_vsock() {
	local firmware
	firmware=$(patch_firmware vsock "devices=vsock")
	fresh
	start_peer "$firmware"
	load
	wait_for "the link to be up" link_is up
	wait_for "vsock to be bound" bound 19
	[ "$(virtio_devices | wc -l)" -eq 1 ]
	! device_of 1 || die "there is a network device"
}

both_ways() {
	echoed VSOCK-CONNECT:$PEER_CID:7 16
}

remove() {
	unload
	nothing_left
	stop_peer
}

add "one device, vsock" 60 only_vsock
add "16 MiB each way, checksums equal" 120 both_ways
add "rmmod leaves nothing behind" 30 remove
run_tests
