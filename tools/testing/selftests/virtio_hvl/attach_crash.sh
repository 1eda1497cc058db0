#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that a boot loader has started crashes after three seconds of use (fault=crash), and there is no file to start
# it from. What is left is said, and another one can be started.
# shellcheck source=attach_lib.sh
. "$(dirname "$0")/attach_lib.sh"

crashes() {
	mv "$FIRMWARE_DIR/$FIRMWARE" "$FIRMWARE_DIR/away.elf"
	begin
	load
	expect_log "the firmware has switched cpu1 off without being asked to"
	expect_log "handling crash #1 in psci-cpu1"
	expect_log "request_firmware failed: -2"
	wait_for "the devices to go" no_devices
	expect_log "$LINK: the peer failed"
	wait_for "the framework to give up" peer_is offline
	mv "$FIRMWARE_DIR/away.elf" "$FIRMWARE_DIR/$FIRMWARE"
}

# As psci_rproc.rst has it for any restart that failed.
another() {
	local dir=/sys/bus/platform/drivers/psci_rproc device
	device=$(basename "$(readlink -f "$(rproc)/device")")
	echo "$device" >$dir/unbind
	echo "$device" >$dir/bind
	peer_is offline
	echo 1 >$ONLINE
	start_peer
	usable
	[ "$(epoch)" = 2 ] || die "the epoch is $(epoch), not 2"
}

add "a peer that was there before Linux is attached to" 60 found
add "it crashes, and there is no file to start it from" 60 crashes
add "another one is started" 60 another
run_tests
