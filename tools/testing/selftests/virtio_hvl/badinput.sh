#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Bad nodes and bad peers: one line in the log that names what is wrong, the right
# error, nothing left behind.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

DRIVER=/sys/bus/platform/drivers/virtio_hvl

# The bad node's device: its name begins with the address of its register, if it has one.
node() {
	local dev
	for dev in /sys/bus/platform/devices/*virtio-hvl-9; do
		[ ! -e "$dev" ] || basename "$dev"
	done
}

# What the driver itself, not the driver core, has said about the node.
said() {
	log_since | grep -F "virtio-hvl-9: " | grep -vE 'probe with driver|IRQ index 0 not found' || true
}

# The error number's name as bash words it.
error_name() {
	case $1 in
	*"Invalid argument"*) echo EINVAL ;;
	*"Device or resource busy"*) echo EBUSY ;;
	*"Numerical result out of range"*) echo ERANGE ;;
	*"No such device or address"*) echo ENXIO ;;
	*"No such device"*) echo ENODEV ;;
	*) echo "$1" ;;
	esac
}

present_bad_node() { # NAME ERRNO PATTERN
	local text name dev
	[ -e /proc/device-tree/__symbols__/hvl_test_spare ] ||
		skip "the machine was booted without test-regions.dtbo"
	apply_overlay "bad-$1"
	dev=$(node)
	[ -n "$dev" ] || die "the overlay made no device"
	[ ! -e "/sys/bus/platform/devices/$dev/driver" ] || die "the driver took it"
	text=$(said)
	[ -n "$text" ] || die "the driver said nothing about it"
	[ "$(wc -l <<<"$text")" -eq 1 ] || die "more than one line: $text"
	grep -E -- "$3" <<<"$text" || die "should match $3: $text"
	# Once more by hand, for the error number.
	if text=$({ echo "$dev" >$DRIVER/bind; } 2>&1); then
		die "the driver took it the second time"
	fi
	name=$(error_name "$text")
	[[ $name =~ ^($2)$ ]] || die "failed with $name, should be $2"
	[ ! -e "$DEBUGFS/$dev" ] || die "debugfs files are left"
	[ "$(grep -c virtio-hvl /proc/interrupts)" -eq 1 ] || die "an interrupt is left"
	remove_overlays
}

# The link works without what msi-parent does not give.
no_messages() {
	local text dev
	fresh
	load
	apply_overlay bad-msi-nowhere
	dev=$(node)
	[ -e "/sys/bus/platform/devices/$dev/driver" ] || die "the driver did not take it"
	text=$(said)
	[ "$(grep -cE 'msi-parent gives no interrupts .EINVAL.' <<<"$text")" -eq 1 ] || die "should be said: $text"
	grep -x 'vectors-msi: 0' "$DEBUGFS/$dev/status"
	remove_overlays
	[ ! -e "$DEBUGFS/$dev" ] || die "debugfs files are left"
}

bad_node_test() {
	if ! loaded; then
		fresh
		load
	fi
	remove_overlays
	present_bad_node "$@"
	# The machine's own link has not been harmed.
	link_is waiting
}

# Memory that the driver kept would make it fail here.
good_after_bad() {
	unload
	nothing_left
	up
}

effect_none() {
	no_devices || die "there are devices: $(virtio_devices)"
	! link_is up || die "the link is up"
}

effect_vsock() {
	wait_for "vsock to be bound" bound 19
	! device_of 1 || die "the bad device is there"
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
}

effect_unbound() {
	! bound 1 || die "virtio_net took a device that does not work"
	! bound 19 || die "vsock took a device that does not work"
}

bad_peer_test() { # FAULT PATTERN EFFECT
	local firmware
	firmware=$(patch_firmware "$1" "devices=net,vsock fault=$1")
	fresh
	start_peer "$firmware"
	load
	expect_log "virtio_hvl.*($2)"
	"effect_$3"
	unload
	nothing_left
	stop_peer
}

# A sound card: its driver believes it, so that only a peer that the node trusts may have one.
other_type() {
	fresh
	start_peer "$(patch_firmware type "devices=net,vsock type=25")"
	load
	expect_log "$LINK: device 0 is skipped: its DeviceId is 0x19, must be one whose driver is known to bear a wrong peer"
	effect_vsock
	! device_of 25 || die "it is there"
	debug status | grep -x "trusted-peer: no"
	unload
	apply_overlay trusted
	load
	wait_for "the device that is trusted" device_of 25
	effect_vsock
	debug status | grep -x "trusted-peer: yes"
	! said | grep "device 0 is skipped" || die "it is skipped again"
	unload
	remove_overlays
	nothing_left
	stop_peer
}

dead_peer() {
	local firmware
	firmware=$(patch_firmware nohb "devices=net,vsock fault=nohb")
	fresh
	start_peer "$firmware"
	load
	# Long before anything else in Linux says that it waits.
	expect_log "$LINK: the peer's heartbeat has stood still for [0-9]+ ms, 5000 ms in all count as death"
	[ -n "$(virtio_devices)" ] || die "the devices went before the time was up"
	expect_log "$LINK: the peer's heartbeat stopped, removing its 2 devices"
	wait_for "the devices to go" no_devices
	unload
	nothing_left
	stop_peer
}

bad_node() { add "node: $1" 60 bad_node_test "$@"; }
bad_peer() { add "peer: $1" 90 bad_peer_test "$@"; }

# shellcheck source=badinput_cases.sh
. "$HERE/badinput_cases.sh"
add "msi-parent that gives no interrupts: said, and the link does without" 60 no_messages
add "a good link works after the bad nodes" 60 good_after_bad
add "peer: a type of device that is for peers which are trusted" 90 other_type
add "peer: nohb, its devices go" 90 dead_peer
run_tests
