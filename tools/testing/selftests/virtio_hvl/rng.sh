#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer's entropy devices under the stock virtio_rng.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

HWRNG=/sys/class/misc/hw_random

# start WORDS: a peer with this command line, and the driver.
start() {
	fresh
	modprobe virtio_rng || skip "no module virtio_rng"
	start_peer "$(patch_firmware rng "$1")"
	load
	wait_for "the link to be up" link_is up
}

# Those of ours, by the names that they have as sources of random numbers.
sources() { tr ' ' '\n' <$HWRNG/rng_available | grep '^virtio_rng' || true; }
has_sources() { [ "$(sources | wc -l)" -eq "$1" ]; }

# from SOURCE BYTES: so many bytes from it.
from() {
	echo "$1" >$HWRNG/rng_current
	[ "$(cat $HWRNG/rng_current)" = "$1" ]
	head -c "$2" /dev/hwrng
}

several() {
	start "devices=rng,rng,rng"
	wait_for "three sources" has_sources 3
}

no_two_alike() {
	local source
	wait_for "three sources" has_sources 3
	for source in $(sources) $(sources); do from "$source" 512; done >"$TMP/bytes"
	[ "$(stat -c %s "$TMP/bytes")" -eq 3072 ]
	# In pieces of 16 bytes.
	[ "$(xxd -p -c 16 "$TMP/bytes" | sort -u | wc -l)" -eq 192 ]
}

# As many ones as zeroes, but for ten times the usual difference.
half_of_the_bits() {
	local ones
	from "$(sources | head -n 1)" 4096 >"$TMP/bytes"
	ones=$(xxd -b -c 1 "$TMP/bytes" | awk '{ ones += gsub(/1/, "", $2) } END { print ones }')
	if [ "$ones" -lt 15500 ] || [ "$ones" -gt 17300 ]; then die "$ones of 32768 bits are ones"; fi
}

# The driver has something at hand; afterwards it asks for more, of another peer.
another_peer() {
	local boot
	boot=$(epoch)
	stop_peer
	start_peer "$(patch_firmware rng "devices=rng,rng,rng")"
	wait_for "the link to be up" link_is up
	[ "$(epoch)" != "$boot" ]
	no_two_alike
}

remove() {
	unload
	nothing_left
	stop_peer
}

# Whatever was in the memory between: nothing of Linux's that the peer has not seen.
claims() {
	start "devices=rng fault=rng-empty"
	wait_for "a source" has_sources 1
	[ "$(from "$(sources)" 4096 | wc -c)" -eq 4096 ]
	remove
}

add "three of them at once" 120 several
add "each gives random numbers, of which no two are alike" 120 no_two_alike
add "half of the bits are ones" 60 half_of_the_bits
add "another peer's are as good" 120 another_peer
add "rmmod leaves nothing behind" 60 remove
add "a peer that claims what it has not written" 120 claims
run_tests
