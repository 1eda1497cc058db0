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

self_test_logged() {
	log_has "$LINK.*(doorbell|link)" || die "nothing about the doorbells in the log"
	expect_no_log "$LINK.*(dead|broken|does not work)"
}

status_file() {
	local text
	text=$(debug status)
	grep -Eq '^state:[[:space:]]*up$' <<<"$text" || die "$text"
	grep -Eq '^epoch:[[:space:]]*[1-9][0-9]*$' <<<"$text" || die "$text"
	debug devices
	[ "$(debug devices | grep -cE '(net|vsock)')" -ge 2 ]
	[ -n "$(debug stats)" ]
}

counters_move() {
	net_up
	debug stats >"$TMP/before"
	ping -q -c 20 -i 0.01 $PEER_IP
	debug stats >"$TMP/after"
	! cmp -s "$TMP/before" "$TMP/after" || die "20 pings changed no counter: $(cat "$TMP/after")"
}

round_trips() {
	local text min median max
	text=$(debug doorbell_rtt)
	echo "$text"
	read -r min median max < <(sed -nE \
		's/.*min[^0-9]*([0-9]+).*median[^0-9]*([0-9]+).*max[^0-9]*([0-9]+).*/\1 \2 \3/p' <<<"$(tr '\n' ' ' <<<"$text")")
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
	expect_no_log "$LINK.*(failed|error)"
	unload
	nothing_left
}

add "driver binds, link up" 60 first_probe
add "network device bound to virtio_net" 30 device_bound 1 virtio_net
add "vsock device bound to vmw_vsock_virtio_transport" 30 device_bound 19 vmw_vsock_virtio_transport
add "stock modules drive them" 30 stock_modules
add "each device has a parent of its own" 30 own_parents
add "features and status as the specification wants" 30 features_agreed
add "debugfs: status, devices, stats" 30 status_file
add "debugfs: counters count" 30 counters_move
add "debugfs: doorbell round trips measured" 60 round_trips
add "rmmod leaves nothing behind" 30 remove
add "driver waits for a peer that is not there" 60 no_peer
run_tests
