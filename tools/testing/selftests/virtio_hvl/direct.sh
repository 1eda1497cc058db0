#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Direct mode: the peer reads and writes Linux's buffers where they are, wherever it sees them;
# nothing stays mapped; a peer that does not reach them is refused; and one that lies about its rings
# is caught as ever.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# All of the machine's memory, the firmware's and the region in the middle of it.
MEMORY=0x40000000
SIZE=0x40000000
REACH="direct=$MEMORY+$SIZE"
# Where it is behind the buses of test-regions.dtso, or its upper half.
SHIFTED="direct=0x10000000+$SIZE,$MEMORY"
HALF="direct=0x10000000+0x20000000,0x60000000"

LINK_AT_BOOT=$LINK
# A region that is mapped without caches: Linux cleans its own, and the peer maps memory without.
OWN=direct
[ -z "$UNCACHED" ] || OWN=direct-uncached

page() { curl -sS -m "$PATIENCE" http://$PEER_IP/; }
counter() { page | sed -n "s/^$1: \([0-9]*\)$/\1/p"; }
field() { debug status | sed -n "s/^$1: *//p"; }
swiotlb() { cat /sys/kernel/debug/swiotlb/io_tlb_used; }

# direct OVERLAY WORDS: the node and the peer for it.
direct() {
	local firmware
	[ -e /proc/device-tree/__symbols__/hvl_test_half ] || skip "the machine was booted without test-regions.dtbo"
	fresh
	apply_overlay "$1"
	firmware=$(patch_firmware direct "devices=net,vsock $2")
	load
	start_peer "$firmware"
}

# The link that stands in for the machine's own.
stand_in() { LINK=$(basename /sys/bus/platform/devices/*virtio-hvl-5); }

traffic() { # MIB
	local crc
	pings_answered 100 -i 0.002 -s 1400
	pings_answered 5 -i 0.002 -s 15000
	echoed TCP:$PEER_IP:7 "$1"
	echoed VSOCK-CONNECT:$PEER_CID:7 "$1"
	bytes_of $(($1 << 20)) TCP:$PEER_IP:19 | cmp - <(chargen_data $(($1 << 20)))
	bytes_of $(($1 << 20)) VSOCK-CONNECT:$PEER_CID:19 | cmp - <(chargen_data $(($1 << 20)))
	# What the peer itself has read is what was sent.
	crc=$(data "$1" | crc32)
	data "$1" | socat -u - VSOCK-CONNECT:$PEER_CID:9
	wait_for "the peer's own CRC of what it got" sums_have "$crc"
}

sums_have() { curl -sS -m "$PATIENCE" http://$PEER_IP/sums | grep " vsock discard .* crc32 $1 " >/dev/null; }

# well: nothing was refused, and no byte of a buffer went through the pool.
well() {
	[ "$(counter outside)" = 0 ] || die "outside: $(counter outside)"
	[ "$(counter violations)" = 0 ] || die "violations: $(counter violations)"
	! debug devices | grep ' failed$' || die "a device has failed"
	debug devices | awk '/^  queue/ { for (i = 1; i < NF; i++) if ($i == "pool" && $(i + 1) != "0/0") exit 1 }' ||
		die "there are buffers in the pool: $(debug devices)"
	[ "$(field mode)" = direct ] || die "the mode is $(field mode)"
}

# nothing_mapped: without drivers no buffer is, whatever they left behind.
nothing_mapped() {
	[ "$(field dma-mapped)" -gt 0 ] || die "nothing was mapped at all"
	rmmod virtio_net
	unload_vsock
	debug devices
	[ "$(field dma-mapped)" = 0 ] || die "mapped without a driver: $(field dma-mapped)"
	debug devices | awk '/^  queue/ { for (i = 1; i <= NF; i++) if ($i == "reclaimed") sum += $(i + 1) }
		END { exit !sum }' || die "no driver left anything behind: the test shows nothing"
	modprobe virtio_net
	modprobe vmw_vsock_virtio_transport
}

end_direct() {
	unload
	nothing_left
	stop_peer
	remove_overlays
	LINK=$LINK_AT_BOOT
}

works() {
	direct $OWN "$REACH"
	usable
	expect_log "$LINK: direct mode: the peer can read and write all memory that it reaches by addresses of 32 bits"
	traffic 2
	well
	nothing_mapped
	usable
	# The core has the same with other rings.
	stop_peer
	start_peer "$(patch_firmware direct "devices=net,vsock $REACH without=packed,indirect")"
	usable
	traffic 1
	well
	end_direct
}

# The mode is the node's, and not what the peer could do: the same firmware without it.
isolated_all_the_same() {
	fresh
	load
	start_peer "$(patch_firmware direct "devices=net,vsock $REACH")"
	usable
	[ "$(field mode)" = isolated ] || die "the mode is $(field mode)"
	expect_no_log "direct mode"
	echoed VSOCK-CONNECT:$PEER_CID:7 1
	debug devices | grep -E '  queue 0: .* pool [1-9][0-9]*/' >/dev/null || die "nothing is in the pool: $(debug devices)"
	[ "$(counter outside)" = 0 ] || die "outside: $(counter outside)"
	end_direct
}

all_unmapped() { [ "$(field dma-mapped)" = 0 ]; }

busy() {
	local address=$1
	while [ -e "$TMP/busy" ]; do
		data 8 | socat -T 5 - "$address" >/dev/null 2>&1 || sleep 0.2
	done
}

# Restart under load, again and again: nobody writes where a buffer was.
restarts() {
	local i before firmware
	direct $OWN "$REACH"
	usable
	firmware=$(cat "$(rproc)/firmware")
	touch "$TMP/busy"
	busy TCP:$PEER_IP:7 &
	busy VSOCK-CONNECT:$PEER_CID:7 &
	for ((i = 0; i < ${HVL_RESTARTS:-2}; i++)); do
		sleep 1
		stop_peer
		wait_for "the devices to be gone" no_devices
		wait_for "all to be unmapped" all_unmapped
		start_peer "$firmware"
		usable
	done
	before=$(epoch)
	unload
	nothing_left
	load
	usable
	rm "$TMP/busy"
	traffic 2
	[ "$(epoch)" = "$before" ]
	well
	end_direct
}

refused() {
	direct $OWN ""
	expect_log "$LINK: direct mode is refused: the peer's Version is 0x[0-9a-f]+, LinkFeatures 0x0, must have bit 1"
	link_is refused || die "the link is not refused: $(debug status)"
	no_devices || die "there are devices: $(virtio_devices)"
	# With one that does, it goes on by itself.
	stop_peer
	start_peer "$(patch_firmware direct "devices=net,vsock $REACH")"
	usable
	end_direct
}

# A peer that reaches less than it is given: it says so and touches nothing.
outside() {
	direct $OWN "direct=$MEMORY+0x1000000"
	wait_for "vsock to be bound" bound 19
	# It looks at what Linux sends.
	in_time 60 sh -c "echo hello | socat -t 5 - VSOCK-CONNECT:$PEER_CID:7,connect-timeout=5" 2>/dev/null
	expect_log "$LINK: device [01] .virtio type [0-9]+. failed: the peer has set DEVICE_NEEDS_RESET"
	unload
	nothing_left
	end_direct
}

shifted() {
	direct direct-shifted "$SHIFTED"
	stand_in
	usable
	traffic 2
	well
	end_direct
}

# What is out of reach is bounced, by Linux itself and only that; and each bounce buffer comes back.
half() {
	local before
	before=$(swiotlb)
	direct direct-half "$HALF"
	stand_in
	usable
	[ "$(swiotlb)" -gt "$before" ] || die "nothing is bounced: all buffers were within reach by chance"
	traffic 2
	well
	unload
	nothing_left
	[ "$(swiotlb)" = "$before" ] || die "bounce buffers in use: $(swiotlb), $before before"
	end_direct
}

lie() { # FAULT PATTERN
	direct $OWN "$REACH fault=$1 without=packed,in-order"
	wait_for "the link to be up" link_is up
	net_up
	ping -q -f -s 1000 $PEER_IP >/dev/null 2>&1 &
	expect_log "$LINK: device 0 .virtio type 1. failed: queue [01]: $2"
	wait_for "vsock to be bound" bound 19
	[ "$(echo hello | socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	kill %% || true
	end_direct
}

noise() {
	direct $OWN "$REACH fault=lie-noise without=packed,in-order"
	wait_for "the link to be up" link_is up
	net_up
	ping -q -f -s 1000 $PEER_IP >/dev/null 2>&1 &
	sleep 6
	wait_for "vsock to be bound" bound 19
	[ "$(echo hello | socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	kill %% || true
	end_direct
}

add "direct mode is the node's to choose" 60 isolated_all_the_same
add "data goes through Linux's own memory" 180 works
add "a peer that does not reach it is refused" 60 refused
add "restarts under load" 180 restarts
if [ -z "$UNCACHED" ]; then
	add "memory at other addresses" 120 shifted
	add "memory that is out of reach" 120 half
fi
add "a used id twice" 60 lie lie-twice "used id [0-9]+ is not the id of an outstanding chain"
if [ -n "${HVL_LONG:-}" ]; then
	add "a peer that reaches too little touches nothing else" 60 outside
	add "a used length beyond what there is room for" 60 lie lie-length "used length 2147483647 of id [0-9]+ exceeds its [0-9]+ writable bytes"
	add "a used id out of range" 60 lie lie-range "used id 300 is out of range: the queue has 256 entries"
	add "a used index that is far ahead" 60 lie lie-jump "used index jumped by [0-9]+, [0-9]+ chains are outstanding"
	add "noise in the rings" 120 noise
fi
run_tests
