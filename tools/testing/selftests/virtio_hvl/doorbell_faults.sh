#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Doorbells that are lost, late, doubled, or rung for nothing, in either direction and under load: they
# cost time, and nothing else. The peer counts them. On a machine with messages for the queues (MSI) those go wrong as well.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# So many faults of each of the two kinds that somebody has to wait for, and of the two others, in each
# direction: 1200 in all.
WAITS=$(by_tier 60 1500)
LOOKS=$(by_tier 240 10000)
BYTES=$((256 << 10))
# What takes the messages there.
MESSAGES=
if [ -e "/proc/device-tree/virtio-hvl@8000210/msi-parent" ]; then
	MESSAGES="msi=0x08020000"
	WAITS=$(by_tier 25 1500)
	LOOKS=$(by_tier 100 10000)
fi

counter() { debug stats | sed -n "s/^$1: //p"; }

# mishaps DIRECTION KIND: how many there were, as far as the peer has told.
mishaps() {
	local line
	line=$(trace | grep -F 'mishaps: ' | tail -n 1 | sed 's/.*mishaps: //' | tr ';' '\n' | grep -F "$1 Linux ") || true
	sed -n "s/.*[ ]\([0-9]*\) $2.*/\1/p" <<<"${line:-$1 Linux 0 $2}"
}

# enough DIRECTION...: all kinds of faults went wrong so often.
enough() {
	local direction
	for direction; do
		[ "$(mishaps "$direction" lost)" -ge "$WAITS" ] && [ "$(mishaps "$direction" late)" -ge "$WAITS" ] &&
			[ "$(mishaps "$direction" twice)" -ge "$LOOKS" ] &&
			[ "$(mishaps "$direction" "for nothing")" -ge "$LOOKS" ] || return 1
	done
}

# goes_on COMMAND...: again and again, until there were enough faults.
goes_on() {
	local rounds
	for ((rounds = 0; ; rounds++)); do
		[ ! -e "$TMP/enough" ] || break
		"$@"
	done
	echo "$rounds times: $*"
}

random() { [ "$(head -c 256 /dev/hwrng | wc -c)" -eq 256 ]; }

stream() { [ "$(bytes_of $BYTES "$1" | crc32)" = "$WANT" ]; }

# faulty DIRECTIONS FAULT...: data comes through, both ways, while so many doorbells go wrong.
faulty() {
	local directions=$1 direction first job jobs=()
	shift
	fresh
	rm -f "$TMP/enough"
	start_peer "$(patch_firmware bells "devices=net,vsock,rng,rng,rng spin=0 $MESSAGES fault=$(tr ' ' , <<<"$*")")"
	modprobe virtio_rng
	load
	usable
	[ -z "$MESSAGES" ] || [ "$(debug devices | grep -c "vectors queues")" -eq 5 ] || die "not all queues have a vector"
	first=$(epoch)
	WANT=$(chargen_data $BYTES | crc32)
	data 1 >"$TMP/megabyte"
	goes_on pings_answered 50 -i 0.002 &
	jobs+=($!)
	goes_on stream TCP:$PEER_IP:19 &
	jobs+=($!)
	goes_on stream VSOCK-CONNECT:$PEER_CID:19 &
	jobs+=($!)
	goes_on exchange TCP:$PEER_IP:7 "$TMP/megabyte" "$TMP/got.tcp" &
	jobs+=($!)
	goes_on exchange VSOCK-CONNECT:$PEER_CID:7 "$TMP/megabyte" "$TMP/got.vsock" &
	jobs+=($!)
	# A device that the peer looks at only when Linux has counted that it notified of it.
	goes_on random &
	jobs+=($!)
	# shellcheck disable=SC2086
	while ! enough $directions; do
		for job in "${jobs[@]}"; do kill -0 "$job" 2>/dev/null || die "data did not come through"; done
		sleep 0.5
	done
	touch "$TMP/enough"
	for job in "${jobs[@]}"; do wait "$job"; done
	trace | grep -F 'mishaps: ' | tail -n 1
	debug stats
	# Nobody has given anything up.
	link_is up
	[ "$(epoch)" = "$first" ]
	[ "$(counter attachments)" -eq 1 ] || die "the link was attached $(counter attachments) times"
	[ "$(counter errors-timeout)" -eq 0 ] || die "something was not answered in time"
	[ "$(counter errors-device-failed)" -eq 0 ] || die "a device failed"
	for direction in $directions; do
		[ "$direction" = from ] || [ "$(counter lost-interrupts)" -gt 0 ] || die "no ring is counted as lost"
	done
	unload
	nothing_left
	stop_peer
}

TO="bell-lost bell-late bell-double bell-spurious"
FROM="ear-lost ear-late ear-double ear-spurious"
# shellcheck disable=SC2086
if [ -n "${HVL_LONG:-}" ]; then
	add "rings of Linux's doorbell are lost, late, doubled, and for nothing" 300 faulty to $TO
	add "rings of the peer's doorbell are lost, late, doubled, and for nothing" 300 faulty from $FROM
fi
# shellcheck disable=SC2086
add "rings of both doorbells are lost, late, doubled, and for nothing" 120 faulty "to from" $TO $FROM
run_tests
