#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Regions of all sizes: what fits works, however little room there is, and costs nothing when it is
# idle; what does not fit is said, with the size that would do.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# start_in BYTES DEVICES: the peer uses so much of the region.
start_in() {
	local firmware
	firmware=$(patch_firmware region "devices=$2 size=$1")
	fresh
	load
	start_peer "$firmware"
	expect_log "$LINK: peer attached"
}

full() { debug devices | sed -n 's/.* full \([0-9]*\) .*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }'; }
idle_ticks() { awk '$1 == "cpu" { print $5 }' /proc/stat; }

# A receive ring that cannot be filled kept virtio_net polling without end.
is_idle() {
	local cpus before after
	cpus=$(grep -c '^cpu[0-9]' /proc/stat)
	sleep 1
	before="$(full) $(idle_ticks)"
	sleep 2
	after="$(full) $(idle_ticks)"
	echo "chains that waited, idle ticks, before and after 2 s: $before, $after; $cpus CPUs"
	[ "${before% *}" = "${after% *}" ] || die "chains wait for room although nothing is sent"
	# 200 ticks of each CPU; a quarter is for a machine that is busy itself.
	[ $((${after#* } - ${before#* })) -ge $((cpus * 50)) ] || die "a CPU is busy with nothing"
}

net_works() {
	wait_for "virtio_net to be bound" bound 1
	net_up
	wait_for "an answer to a ping" pings
	ping -q -c 20 -i 0.01 -s 1400 $PEER_IP
	echoed TCP:$PEER_IP:7 2
	bytes_of 4194304 TCP:$PEER_IP:19 | cmp - <(chargen_data 4194304)
}

# Whatever Linux sends at once has to fit: a packet of 64 KiB never left a small share.
vsock_works() {
	wait_for "vsock to be bound" bound 19
	echoed VSOCK-CONNECT:$PEER_CID:7 2
	bytes_of 4194304 VSOCK-CONNECT:$PEER_CID:19 | cmp - <(chargen_data 4194304)
	data 1 | socat -u -b 1048576 - VSOCK-CONNECT:$PEER_CID:9
	[ "$(echo hello | socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
}

both_in() { # BYTES
	start_in "$1" net,vsock
	net_works
	vsock_works
	is_idle
	net_works
	debug devices
	end_in
}

vsock_in() { # BYTES
	start_in "$1" vsock
	vsock_works
	is_idle
	end_in
}

net_in() { # BYTES
	start_in "$1" net
	net_works
	is_idle
	end_in
}

end_in() {
	unload
	nothing_left
	stop_peer
}

# The first device has its room, the second one is told how much it lacks.
too_small() {
	start_in 0x20000 net,vsock
	expect_log "$LINK: device 1 .virtio type 19. is skipped: its queues need 0x1d000 bytes of the pool, 0x[0-9a-f]+ are left: the region must have at least 0x28000"
	net_works
	no_device 19
	end_in
	start_in 0x28000 net,vsock
	net_works
	vsock_works
	end_in
}

# What the drivers post before anything is sent has room, in a region of the usual size.
room_for_all() {
	start_in 0x2000000 net,vsock
	wait_for "virtio_net to be bound" bound 1
	wait_for "vsock to be bound" bound 19
	net_up
	wait_for "an answer to a ping" pings
	is_idle
	debug devices
	[ "$(full)" = 0 ] || die "chains wait for room"
	[ "$(debug devices | awk '/ type 19 / { own = 1 } own && /queue 2:/ { for (i = 1; i < NF; i++) if ($i == "posted") print $(i + 1) }')" = 8 ] ||
		die "not each of vsock's buffers for events is posted"
	end_in
}

share() { # DEVICE QUEUE
	debug devices | awk -v device="$LINK.$1:" -v queue="$2:" '
		$1 == device { own = 1; next }
		/^[^ ]/ { own = 0 }
		own && $1 == "queue" && $2 == queue { print $4 }'
}

share_is() { [ "$(share "$1" "$2")" = "$3" ] || die "queue $2 of device $1 has $(share "$1" "$2"): $(debug devices)"; }

# start_with_shares NAME: the node sets parts of the pool.
start_with_shares() {
	fresh
	apply_overlay "shares-$1"
	load
	start_peer
	expect_log "$LINK: peer attached"
	wait_for "virtio_net to be bound" bound 1
}

# What is set has effect, what is not is divided as ever, and both are gone with the overlay.
shares_set() {
	start_with_shares some
	share_is 0 0 0x100000
	share_is 0 1 0x80000
	share_is 1 1 0x14000
	share_is 1 2 0x5000
	# The only one that is not set, of those that get of the rest.
	[ $(($(share 1 0))) -gt $((0x1d00000)) ] || die "nobody has the rest: $(debug devices)"
	net_works
	vsock_works
	end_in
	remove_overlays
	load
	start_peer
	wait_for "virtio_net to be bound" bound 1
	[ $(($(share 0 0))) -gt $((0x700000)) ] || die "it is still set: $(debug devices)"
	end_in
}

shares_wrong() {
	start_with_shares little
	expect_log "$LINK: device 1 .virtio type 19. is skipped: queue 1 has 0x13000 bytes by its node's virtio-hvl,queue-share-bytes: must be at least 0x14000"
	net_works
	no_device 19
	end_in
	start_with_shares much
	expect_log "$LINK: device 1 .virtio type 19. is skipped: its queues need 0x1d000 bytes of the pool, 0xd000 are left: the region must have at least 0x2010000"
	share_is 0 0 0x1800000
	net_works
	no_device 19
	end_in
	remove_overlays
	nothing_left
}

no_device() { if device_of "$1"; then die "a device that has no room is there"; fi; }

add "nothing but vsock in 128 KiB" 120 vsock_in 0x20000
add "nothing but a network in 128 KiB" 120 net_in 0x20000
add "nothing waits on an idle link" 120 room_for_all
add "shares that the node sets" 180 shares_set
add "shares that do not do" 180 shares_wrong
add "what is missing is said, and is enough" 180 too_small
for size in 0x40000 ${HVL_LONG:+0x80000} 0x100000 ${HVL_LONG:+0x400000 0x800000 0x2000000}; do
	add "both in $((size / 1024)) KiB" 180 both_in $size
done
run_tests
