#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The driver binds, the devices are there, bound to the stock drivers, and what the
# driver tells about itself is so.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

first_probe() {
	fresh
	start_peer
	load
	wait_for "the link to be up" link_is up
	[ "$(basename "$(readlink "/sys/bus/platform/devices/$LINK/driver")")" = virtio_hvl ]
	expect_log "$LINK: peer attached: epoch [1-9][0-9]*, .* 2 devices, doorbell round trip [0-9]+ us"
}

device_bound() { # ID DRIVER
	wait_for "a device of type $1" device_of "$1"
	wait_for "device type $1 to be bound" bound "$1"
	[ "$(driver_of "$(device_of "$1")")" = "$2" ]
}

own_parents() {
	local dev parents
	parents=$(for dev in $(virtio_devices); do dirname "$(readlink -f "$dev")"; done | sort)
	[ "$(wc -l <<<"$parents")" -eq 2 ] || die "not two devices: $parents"
	[ "$(uniq <<<"$parents" | wc -l)" -eq 2 ] || die "devices share a parent: $parents"
}

stock_modules() {
	local module file
	for module in virtio_net vmw_vsock_virtio_transport; do
		lsmod | grep "^$module " >/dev/null || die "$module is not loaded"
		file=$(modinfo -F filename $module)
		[[ $file == */kernel/* ]] || die "$module is not the kernel's own: $file"
	done
}

features_agreed() {
	local dev bits
	for dev in $(virtio_devices); do
		bits=$(cat "$dev/features")
		# VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM
		[ "${bits:32:1}${bits:33:1}${bits:36:1}" = 111 ] || die "$dev: $bits"
		[ $(($(cat "$dev/status") & 0xcf)) -eq $((0xf)) ] || die "$dev: status $(cat "$dev/status")"
	done
}

field() { sed -n "s/^$1: *//p"; }

status_file() {
	local text
	text=$(debug status)
	echo "$text"
	[ "$(field state <<<"$text")" = up ]
	[ "$(field peer-state <<<"$text")" = ready ]
	[ "$(field epoch <<<"$text")" -gt 0 ]
	[ "$(field epoch <<<"$text")" = "$(field peer-epoch <<<"$text")" ]
	[ "$(field region-start <<<"$text")" = "0x$(basename /proc/device-tree/reserved-memory/link@* | cut -d @ -f 2)" ]
	[ "$(field link-test-ns <<<"$text")" -gt 0 ]
}

devices_file() {
	debug devices >"$TMP/devices"
	cat "$TMP/devices"
	grep -E "^$LINK\.[0-9]+: type 1 .* status 0xf ring-features packed,[a-z,-]+ vectors link set-up-us [1-9][0-9]*$" "$TMP/devices"
	grep -E "^$LINK\.[0-9]+: type 19 .* status 0xf ring-features packed,[a-z,-]+ vectors link set-up-us [1-9][0-9]*$" "$TMP/devices"
	[ "$(grep -cE '^  queue [0-9]+: share 0x[0-9a-f]+ size [1-9][0-9]* kicks .* books [1-9][0-9]*$' "$TMP/devices")" -ge 5 ]
}

heartbeat_is_not() { [ "$(debug status | field heartbeat)" != "$1" ]; }

heartbeat_moves() {
	wait_for "the heartbeat to move" heartbeat_is_not "$(debug status | field heartbeat)"
}

# queue_counter FILE QUEUE NAME: of the network device.
queue_counter() {
	awk -v queue="$2:" -v name="$3" '$1 == "queue" && $2 == queue {
		for (i = 3; i < NF; i++) if ($i == name) print $(i + 1)
	}' "$1"
}

counters_count() {
	local name before after
	net_up
	debug devices | grep -A 2 ': type 1 ' >"$TMP/before"
	before=$(debug stats)
	ping -q -c 20 -i 0.01 $PEER_IP
	debug devices | grep -A 2 ': type 1 ' >"$TMP/after"
	after=$(debug stats)
	cat "$TMP/before" "$TMP/after"
	# Receive buffers were mapped before; each request is mapped when it is sent.
	[ "$(queue_counter "$TMP/after" 0 interrupts)" -gt "$(queue_counter "$TMP/before" 0 interrupts)" ]
	[ "$(queue_counter "$TMP/after" 1 kicks)" -gt "$(queue_counter "$TMP/before" 1 kicks)" ]
	[ "$(queue_counter "$TMP/after" 1 maps)" -ge $(($(queue_counter "$TMP/before" 1 maps) + 20)) ]
	for name in doorbells interrupts; do
		[ "$(field $name <<<"$after")" -gt "$(field $name <<<"$before")" ]
	done
	for name in errors-timeout errors-refused errors-malformed errors-device-failed; do
		[ "$(field $name <<<"$after")" = 0 ]
	done
}

transaction_file() {
	debug last-transaction
	[ "$(debug last-transaction | grep -c 'outcome ok$')" -eq 2 ]
}

round_trips() {
	local text min median max
	text=$(debug doorbell_rtt)
	echo "$text"
	[ "$(field samples <<<"$text")" = "1000 of 1000" ]
	min=$(field min-ns <<<"$text")
	median=$(field median-ns <<<"$text")
	max=$(field max-ns <<<"$text")
	[ "$min" -gt 0 ] && [ "$min" -le "$median" ] && [ "$median" -le "$max" ]
}

remove() {
	unload
	nothing_left
}

no_peer() {
	fresh
	load
	wait_for "the link to wait" link_is waiting
	no_devices
	expect_log "$LINK: waiting for a peer"
	unload
	nothing_left
}

parameter() {
	up
	[ "$(cat /sys/module/virtio_hvl/parameters/timeout_ms)" = 1000 ]
	modinfo -p virtio_hvl | grep -q '^timeout_ms:.*milliseconds'
	fresh
	modprobe virtio_hvl timeout_ms=7000
	[ "$(cat /sys/module/virtio_hvl/parameters/timeout_ms)" = 7000 ]
	unload
	nothing_left
}

# small_region BYTES WARNING: the peer uses so much of the region.
small_region() {
	local firmware
	firmware=$(patch_firmware small "devices=net,vsock size=$1")
	fresh
	load
	start_peer "$firmware"
	expect_log "$LINK: peer attached"
	wait_for "virtio_net to be bound" bound 1
	if [ "$2" ]; then
		expect_log "$LINK: the region has $1 bytes: with 0x[0-9a-f]+ no queue would have to wait for room"
	else
		expect_no_log "$LINK: the region has"
	fi
	unload
	stop_peer
}

add "driver binds, link up" 60 first_probe
add "network device bound to virtio_net" 30 device_bound 1 virtio_net
add "vsock device bound to vmw_vsock_virtio_transport" 30 device_bound 19 vmw_vsock_virtio_transport
add "stock modules drive them" 30 stock_modules
add "each device has a parent of its own" 30 own_parents
add "features and status as the specification wants" 30 features_agreed
add "debugfs: status" 30 status_file
add "debugfs: devices and queues" 30 devices_file
add "debugfs: last transaction" 30 transaction_file
add "debugfs: counters count" 30 counters_count
add "heartbeat moves" 30 heartbeat_moves
add "debugfs: doorbell round trips measured" 60 round_trips
add "rmmod leaves nothing behind" 30 remove
add "driver waits for a peer that is not there" 60 no_peer
add "the module's parameter is there to be read" 60 parameter
add "a small region is said to be one" 60 small_region 0x100000 said
add "a region that is large enough is not" 60 small_region 0x800000 ''
run_tests
