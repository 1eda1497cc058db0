#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# As many devices as a link can have, and nearly as many queues as a device can: they come up, work, and say
# what that has cost. (links.sh has several links.)
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

DEVICES_MAX=32
PAIRS=31

# several COUNT WORD: that word so often, with commas before.
several() { printf ",$2%.0s" $(seq "$1"); }

begin() {
	local firmware
	# On a machine with several links: the first.
	RPROC="*.remoteproc"
	firmware=$(patch_firmware scale "$*")
	fresh
	modprobe virtio_blk
	modprobe virtio_rng
	load
	start_peer "$firmware"
	wait_for "the link to be up" link_is up
}

# costs WHAT: how long the devices took, and what their queues have of Linux's memory and of the pool.
costs() {
	debug devices >"$TMP/devices"
	say "$(awk -v what="$1" '
		function value(word,  i) { for (i = 1; i < NF; i++) if ($i == word) return $(i + 1) }
		/^[^ ]/ { devices++; us += value("set-up-us") }
		/^  queue/ { queues++; books += value("books"); pool += value("pool") }
		END {
			printf "%s: %d devices, %d queues: %d us to set up, %d bytes of books a queue",
				what, devices, queues, us, books / queues
		}' "$TMP/devices")"
}

all_bound() { [ "$(virtio_devices | while read -r dev; do [ -e "$dev/driver" ] && echo; done | wc -l)" -eq "$1" ]; }

# A whole table: with each kind that Linux has a driver for.
table() {
	local dev disk
	begin "devices=net,vsock$(several 14 rng)$(several 16 blk)"
	wait_for "all $DEVICES_MAX devices to be bound" all_bound $DEVICES_MAX
	usable
	costs "a whole table"
	[ "$(debug devices | grep -c '^[^ ]')" -eq $DEVICES_MAX ]
	# Each disk is another one.
	for dev in $(virtio_devices); do
		disk=$(ls "$dev/block" 2>/dev/null) || continue
		echo "$(<"$dev/block/$disk/serial")"
		dd if="/dev/$disk" of=/dev/null bs=4k iflag=direct status=none
	done >"$TMP/serials"
	[ "$(sort -u "$TMP/serials" | wc -l)" -eq 16 ] || die "not 16 disks: $(cat "$TMP/serials")"
	head -c 64 /dev/hwrng | wc -c
}

# Traffic of one device beside all those.
beside() {
	pings_answered 50 -i 0.002
	echoed TCP:$PEER_IP:7 1
	echoed "VSOCK-CONNECT:$PEER_CID:7" 1
}

# What is idle has nothing to do with it.
idle_devices() {
	debug devices | awk '/^[^ ]/ { n++ } n > 2 && /^  queue/ { print $8, $10 }' >"$TMP/before"
	beside
	debug devices | awk '/^[^ ]/ { n++ } n > 2 && /^  queue/ { print $8, $10 }' >"$TMP/after"
	[ -s "$TMP/before" ]
	cmp "$TMP/before" "$TMP/after" || die "notifications of devices that have nothing to do"
}

# 63 queues, of which the driver uses as many pairs as there are CPUs, and all if it is asked to.
queues() {
	begin "devices=net,vsock net-queues=$PAIRS"
	usable
	costs "$((2 * PAIRS + 1)) queues"
	[ "$(debug devices | grep -c '^  queue')" -eq $((2 * PAIRS + 1 + 3)) ]
	[ "$(ethtool -l "$(netdev)" | awk '/^Combined:/ { print $2 }' | head -n 1)" = $PAIRS ]
	beside
}

all_pairs() {
	local i pids=()
	ethtool -L "$(netdev)" combined $PAIRS
	wait_for "an answer to a ping" pings
	for i in 1 2 3 4; do
		data 1 >"$TMP/in.$i"
		exchange TCP:$PEER_IP:7 "$TMP/in.$i" "$TMP/out.$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || die "a connection failed"; done
	beside
}

# What is too small for so many says so, and how large would do; and that does.
small() {
	local bytes
	begin "devices=net,vsock net-queues=$PAIRS size=0x80000"
	expect_log "$LINK: device 0 .virtio type 1. is skipped: its queues need 0x[0-9a-f]+ bytes of the pool"
	bytes=$(log_since | sed -n 's/.*device 0 .virtio type 1. is skipped.*the region must have at least \(0x[0-9a-f]*\)$/\1/p')
	[ -n "$bytes" ] || die "the line does not say what would do"
	begin "devices=net,vsock net-queues=$PAIRS size=$bytes"
	wait_for "virtio_net to be bound" bound 1
	net_up
	wait_for "an answer to a ping" pings
	say "a network of $((2 * PAIRS + 1)) queues: a region of $bytes bytes"
	begin "devices=net,vsock net-queues=$PAIRS size=$(printf '0x%x' $((bytes - 4096)))"
	expect_log "$LINK: device 0 .virtio type 1. is skipped"
}

add "$DEVICES_MAX devices come up" 120 table
add "those with nothing to do have nothing to do with the others" 60 idle_devices
add "a network of $((2 * PAIRS + 1)) queues" 90 queues
add "all of them are used" 60 all_pairs
add "a region that is too small for so many says what would do" 90 small
run_tests
