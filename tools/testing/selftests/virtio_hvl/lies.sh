#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that lies about its rings and its features: Linux goes on, the device is failed with a line
# that says why where anything wrong can be seen at all, the other device of the link works, and so
# does an honest peer afterwards.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

lies_told() { trace | grep -q 'net: telling lies'; }

# start_lying FAULT [WITHOUT]: both devices in use, with traffic on the one that is lied about. What
# can be said about a ring depends on its kind.
start_lying() {
	local firmware
	firmware=$(patch_firmware lies "devices=net,vsock fault=$1 without=${2:-packed,in-order}")
	fresh
	load
	start_peer "$firmware"
	wait_for "the link to be up" link_is up
	net_up
	ping -q -i 0.002 -s 1000 $PEER_IP >/dev/null 2>&1 &
	ping -q -i 0.02 $PEER_IP >/dev/null 2>&1 &
}

other_device_works() {
	wait_for "vsock to be bound" bound 19
	[ "$(echo hello | socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ] ||
		die "vsock echo gives nothing or another thing back"
}

end_lying() {
	pkill ping || true
	wait 2>/dev/null || true
	unload
	nothing_left
	stop_peer
	start_peer
	load
	usable
}

# A lie that can be seen, and what the log has to say of it.
seen() { # FAULT PATTERN
	start_lying "$1"
	expect_log "$LINK: device 0 .virtio type 1. failed: queue [01]: $2"
	debug devices | grep -E "^$LINK\.0: .* failed$"
	other_device_works
	end_lying
}

# One that Linux does not even look at. The peer itself may trip over what it wrote, and say so.
unseen() { # FAULT [WITHOUT]
	local i wait
	wait=$(by_tier 0.1 1)
	start_lying "$1" "${2:-packed,in-order,indirect}"
	wait_for "the lies" lies_told
	# Nobody has to answer: what Linux sends, and gets, goes by the ring that is lied about.
	for ((i = 0; i < 20; i++)); do
		ping -q -c 1 -W "$wait" $PEER_IP >/dev/null || true
		echo x | socat -u - UDP:$PEER_IP:9
	done
	expect_no_log "$LINK: device 0 .* failed: queue"
	other_device_works
	end_lying
}

# Everything, everywhere: whatever comes of it, the kernel is well.
noise() {
	local i
	for ((i = 0; i < ${HVL_NOISES:-$(by_tier 1 4)}; i++)); do
		start_lying lie-noise "$1"
		wait_for "the lies" lies_told
		# Noise stops the peer itself as well, which may see it before it makes a lie; in a packed ring
		# it mostly does.
		[[ $1 != packed* ]] ||
			expect_log "$LINK: device 0 .* failed: (queue [01]: used |the peer has set DEVICE_NEEDS_RESET)"
		other_device_works
		pkill ping || true
		unload
		nothing_left
	done
	end_lying
}

errors() { debug stats | sed -n 's/^errors-device-failed: //p'; }

# The peer gives a device up itself (VIRTIO 2.1.2). What Linux was told to do about it helps.
needs_reset() {
	start_lying needs-reset
	expect_log "$LINK: device 0 .virtio type 1. failed: the peer has set DEVICE_NEEDS_RESET, .* restart the peer, or unload"
	debug devices | grep -E "^$LINK\.0: .* failed$"
	[ "$(errors)" = 1 ] || die "counted: $(errors)"
	other_device_works
	sleep 1
	[ "$(log_since | grep -c 'DEVICE_NEEDS_RESET')" -eq 1 ] || die "it is not said once"
	pkill ping || true
	unload
	nothing_left
	load
	usable
	end_lying
}

# Bits that nobody has written say nothing, whichever they are.
status_noise() {
	start_lying status-noise
	wait_for "the noise" status_told
	sleep 1
	expect_no_log "$LINK: device 0 .* failed"
	wait_for "an answer to a ping" pings
	other_device_works
	end_lying
}

status_told() { trace | grep -q 'net: shows status'; }

# A device that forgets what it was told, without a word.
status_lost() {
	start_lying status-lost
	expect_log "$LINK: device 0 .virtio type 1. failed: the peer's Status is 0x0, must be 0xf: what is written"
	[ "$(errors)" = 1 ] || die "counted: $(errors)"
	other_device_works
	end_lying
}

# A configuration that never settles: whoever reads it waits for the deadline, once, and no longer.
unsettled() { # FAULT PATTERN
	start_lying "$1"
	expect_log "$LINK: device 0 .virtio type 1. failed: $2"
	[ "$(errors)" = 1 ] || die "counted: $(errors)"
	# It fails at once now, whatever asks.
	in_time 5 ip link set "$(netdev)" down
	other_device_works
	end_lying
}

# The same from the boot on: virtio_net's probe is what waits.
unsettled_boot() {
	local firmware
	firmware=$(patch_firmware lies "devices=net,vsock fault=config-odd")
	fresh
	load
	start_peer "$firmware"
	expect_log "$LINK: device 0 .virtio type 1. failed: the peer's ConfigGeneration is odd for [0-9]+ ms: it must be even"
	other_device_works
	! bound 1 || die "virtio_net took a device that does not work"
	end_lying
}

# One that changes all the time, by halves, and keeps to the rules: each address that virtio_net finds
# is one that there was as a whole, however often it asks.
changing() {
	local i firmware address seen=
	firmware=$(patch_firmware lies "devices=net,vsock fault=config-slow")
	fresh
	load
	start_peer "$firmware"
	other_device_works
	for ((i = 0; i < $(by_tier 4 12); i++)); do
		wait_for "a network interface" has_netdev
		address=$(cat "/sys/class/net/$(netdev)/address")
		seen+=" $address"
		case $address in
		02:00:00:00:00:02 | 02:aa:aa:aa:aa:aa | 02:bb:bb:bb:bb:bb) ;;
		*) die "no address that the device ever had: $seen" ;;
		esac
		rmmod virtio_net
		modprobe virtio_net
	done
	echo "$seen"
	net_up
	wait_for "an answer to a ping" pings
	[ "$(errors)" = 0 ] || die "counted: $(errors)"
	end_lying
}

# virtio_net has a BUG for what needs a control queue that is not there.
features() {
	local dev bit
	start_lying nocontrol
	for bit in 18 19 21 22 23 50 53 57 60; do
		expect_log "$LINK: device 0 .virtio type 1.: feature bit $bit needs bit 17, which the device does not offer"
	done
	for bit in 4 49; do
		expect_log "$LINK: device 0 .virtio type 1.: feature bit $bit is not known for this type"
	done
	# Each is said once.
	[ "$(log_since | grep -c 'feature bit')" -eq 11 ]
	dev=$(netdev)
	ethtool -S "$dev" >/dev/null
	ethtool -c "$dev" >/dev/null 2>&1 || true
	ip link set "$dev" promisc on
	ip link set "$dev" promisc off
	wait_for "an answer to a ping" pings
	other_device_works
	end_lying
}

balloon() {
	local firmware
	firmware=$(patch_firmware balloon "devices=net,vsock fault=balloon")
	fresh
	load
	start_peer "$firmware"
	expect_log "$LINK: device 0 is skipped: its DeviceId is 0x5, must be other than a balloon"
	other_device_works
	unload
	stop_peer
}

# Buffers come back, and nothing says so: Linux looks by itself, and tells.
no_events() {
	local firmware
	firmware=$(patch_firmware noevent "devices=net,vsock fault=noevent")
	fresh
	load
	start_peer "$firmware"
	wait_for "virtio_net to be bound" bound 1
	net_up
	ping -q -c 3 -W 5 $PEER_IP || true
	expect_log "$LINK: device [01] .virtio type [0-9]+.: queue [0-9]: buffers come back without an event"
	unload
	nothing_left
	stop_peer
}

add "one NEXT flag is flipped" 120 unseen lie-flag
add "NEXT is set everywhere" 120 unseen lie-flags
add "descriptors are rewritten all the time" 120 unseen lie-rewrite
add "indirect descriptors are rewritten all the time" 120 unseen lie-rewrite packed
add "the words about notifications are overwritten" 120 unseen lie-events
add "a used id out of range" 120 seen lie-range "used id 300 is out of range: the queue has 256 entries"
add "a used id twice" 120 seen lie-twice "used id [0-9]+ is not the id of an outstanding chain"
add "a used id that was never made available" 120 seen lie-never "used id [0-9]+ is not the id of an outstanding chain"
add "a used length beyond what there is room for" 120 seen lie-length "used length 2147483647 of id [0-9]+ exceeds its [0-9]+ writable bytes"
add "a used index that is far ahead" 120 seen lie-jump "used index jumped by [0-9]+, [0-9]+ chains are outstanding"
add "a used index that goes back" 120 seen lie-back "used index went back from [0-9]+ to [0-9]+"
add "noise in split rings" 240 noise packed,in-order
add "noise in packed rings" 240 noise in-order
add "noise in packed rings, in order" 240 noise queue-reset
add "a device that asks for a reset" 120 needs_reset
add "status bits that nobody has written" 120 status_noise
add "a status that is lost" 120 status_lost
add "a configuration that begins to change and does not end" 120 unsettled config-stuck "the peer's ConfigGeneration is odd for [0-9]+ ms: it must be even"
add "the same from the boot on" 120 unsettled_boot
add "a configuration that changes more often than can be read" 120 unsettled config-storm "the peer changes the configuration all the time"
add "a configuration that changes slowly, all the time" 120 changing
add "features without what they need" 120 features
add "a peer that wants to be a balloon" 60 balloon
add "buffers that come back without events" 120 no_events
run_tests
