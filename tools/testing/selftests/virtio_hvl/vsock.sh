#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer's vsock device under the stock vmw_vsock_virtio_transport.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

MIB=${HVL_BULK_MIB:-256}
CALLBACK=20

echo_once() {
	[ "$(echo "hello, peer" | socat -t 60 - VSOCK-CONNECT:$PEER_CID:7)" = "hello, peer" ]
}

# The peer's accounts of finished connections to SERVICE, the latest last. Each has a number.
accounts() {
	socat -u -t "$DEADLINE" VSOCK-CONNECT:$PEER_CID:21 - |
		awk -v service="$1" '$2 == "vsock" && $3 == service'
}
latest() { accounts "$1" | awk 'END { print $1 + 0 }'; }

# accounts_for SERVICE NUMBER BYTES CRC: in one after that number. The same may have been sent before.
accounts_for() {
	accounts "$1" | awk -v after="$2" '$1 > after' | grep -F " received $3 crc32 $4 " >/dev/null
}

# discarded MIB: so much goes to the peer's discard service and arrives.
discarded() {
	local want before
	want=$(data "$1" | crc32)
	before=$(latest discard)
	data "$1" | socat -u -b 65536 - VSOCK-CONNECT:$PEER_CID:9
	wait_for "the peer to have got $(($1 << 20)) bytes with CRC $want" \
		accounts_for discard "$before" $(($1 << 20)) "$want"
}

from_peer() {
	local want got
	want=$(chargen_data $((MIB << 20)) | crc32)
	got=$(bytes_of $((MIB << 20)) VSOCK-CONNECT:$PEER_CID:19 | crc32)
	[ "$got" = "$want" ] || die "should be $want, got $got"
}

eight_at_once() {
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		{ printf 'connection %d\n' "$i"; data 4; } >"$TMP/in.$i"
		exchange VSOCK-CONNECT:$PEER_CID:7 "$TMP/in.$i" "$TMP/out.$i" &
		pids+=($!)
	done
	for i in 1 2 3 4 5 6 7 8; do
		wait "${pids[i - 1]}" || die "connection $i failed"
		cmp "$TMP/in.$i" "$TMP/out.$i"
	done
}

# Our end says that it has no more to send, and then gets all that is owed to it.
half_close() {
	data 1 >"$TMP/data"
	# As much as fits into the buffers on the way, whoever reads when.
	head -c 60000 "$TMP/data" >"$TMP/in"
	socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:7 <"$TMP/in" >"$TMP/out"
	cmp "$TMP/in" "$TMP/out"
}

refused() {
	local said
	if said=$(socat -u /dev/null VSOCK-CONNECT:$PEER_CID:4000 2>&1); then
		die "somebody answers on port 4000"
	fi
	grep -qE 'reset|refused' <<<"$said" || die "$said"
}

listening() { ss -Hlx --vsock 2>/dev/null | grep -F ":$1 " >/dev/null; }

# call_back PORT MIB: the peer connects to our listener and echoes what it gets.
call_back() {
	local port=$1 pid
	data "$2" >"$TMP/in.$port"
	HVL_SEND=$TMP/in.$port HVL_GET=$TMP/out.$port \
		socat VSOCK-LISTEN:"$port",reuseaddr EXEC:"$HERE/both_ways.sh",nofork &
	pid=$!
	wait_for "a listener on vsock port $port" listening "$port"
	# The connection that asked stays open until the peer has done what it was asked for.
	{ echo "connect $port"; wait_for "data from the peer" test -s "$TMP/out.$port"; } |
		socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:$CALLBACK
	wait $pid
	cmp "$TMP/in.$port" "$TMP/out.$port"
}

call_back_nobody() {
	echo "connect 4999" | socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:$CALLBACK
	echo_once
}

# What the peer makes up, with the reader going away in the middle.
chargen() {
	local i got
	for i in 1 2 3 4 5; do
		got=$(socat -u VSOCK-CONNECT:$PEER_CID:19 - 2>/dev/null | head -c 100000 | wc -c) || true
		[ "$got" -eq 100000 ] || die "chargen gave $got bytes, $i"
	done
	echo_once
}

many_in_a_row() {
	local i
	for ((i = 0; i < 50; i++)); do
		echo_once
	done
}

# Nobody reads for a while: credit stops the peer, and nothing is lost. (One direction only:
# a client that writes and does not read is stuck with an echo server, rightly.)
slow_reader() {
	local want got
	want=$(chargen_data $((8 << 20)) | crc32)
	got=$(bytes_of $((8 << 20)) VSOCK-CONNECT:$PEER_CID:19 | { sleep 2; crc32; })
	[ "$got" = "$want" ] || die "should be $want, got $got"
}

add "link up" 60 up
add "connect and echo" 60 echo_once
add "half-close" 60 half_close
add "connect to a closed port is refused" 60 refused
add "the peer connects to us" 60 call_back 4567 1
add "the peer connects to a port where nobody listens" 60 call_back_nobody
add "chargen with a reader that goes away" 60 chargen
add "discard" 60 discarded 4
add "50 connections in a row" 60 many_in_a_row
add "a reader that does not read for a while" 60 slow_reader
add "echo of 16 MiB, checksums equal" 120 echoed VSOCK-CONNECT:$PEER_CID:7 16
add "$MIB MiB to the peer, checksums equal" 180 discarded "$MIB"
add "$MIB MiB from the peer, checksums equal" 180 from_peer
add "8 connections at once" 120 eight_at_once
run_tests
