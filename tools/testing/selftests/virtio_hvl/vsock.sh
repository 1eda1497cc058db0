#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer's vsock device under the stock vmw_vsock_virtio_transport.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

MIB=${HVL_BULK_MIB:-256}
CALLBACK=20

echo_once() {
	[ "$(echo "hello, peer" | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = "hello, peer" ]
}

# The peer's accounts of finished connections to SERVICE, the latest last. Each has a number.
accounts() {
	socat -u -t "$PATIENCE" VSOCK-CONNECT:$PEER_CID:21 - |
		awk -v service="$1" '$2 == "vsock" && $3 == service'
}
latest() { accounts "$1" | awk 'END { print $1 + 0 }'; }

# accounts_for SERVICE NUMBER BYTES CRC: in one after that number. The same may have been sent before.
accounts_for() {
	accounts "$1" | awk -v after="$2" '$1 > after' | grep -F " received $3 crc32 $4 " >/dev/null
}

# arrives COMMAND...: what it writes goes to the peer's discard service, with the socket options
# in OPTIONS, and arrives.
arrives() {
	local want bytes before
	want=$("$@" | crc32)
	bytes=$("$@" | wc -c)
	before=$(latest discard)
	"$@" | socat -u -b 65536 - "VSOCK-CONNECT:$PEER_CID:9${OPTIONS:+,$OPTIONS}"
	wait_for "the peer to have got $bytes bytes with CRC $want" \
		accounts_for discard "$before" "$bytes" "$want"
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
		{ printf 'connection %d\n' "$i"; data "$(by_tier 2 4)"; } >"$TMP/in.$i"
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
	socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7 <"$TMP/in" >"$TMP/out"
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

# call_back PORT MIB [OPTIONS]: the peer connects to our listener and echoes what it gets.
call_back() {
	local port=$1 pid
	data "$2" >"$TMP/in.$port"
	HVL_SEND=$TMP/in.$port HVL_GET=$TMP/out.$port \
		socat VSOCK-LISTEN:"$port,reuseaddr${3:+,$3}" EXEC:"$HERE/both_ways.sh",nofork &
	pid=$!
	wait_for "a listener on vsock port $port" listening "$port"
	# The connection that asked stays open until the peer has done what it was asked for.
	{ echo "connect $port"; wait_for "data from the peer" test -s "$TMP/out.$port"; } |
		socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:$CALLBACK
	wait $pid
	cmp "$TMP/in.$port" "$TMP/out.$port"
}

call_back_nobody() {
	echo "connect 4999" | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:$CALLBACK
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

# ---------------------------------------------------------------- buffer sizes

# Option values of AF_VSOCK (40): SO_VM_SOCKETS_BUFFER_SIZE 0, _MIN_SIZE 1, _MAX_SIZE 2; 64 bits.
u64() {
	local i
	printf x
	for ((i = 0; i < 64; i += 8)); do printf '%02x' $((($1 >> i) & 255)); done
}

# buffer SIZE [WHEN]: socat's options for a socket with that buffer, set before it connects, or
# WHEN (listen, connected).
buffer() {
	local set=setsockopt-${2:-socket}=40
	echo "$set:1:$(u64 1),$set:2:$(u64 $((1 << 24))),$set:0:$(u64 "$1")"
}

# How many bytes to send through such a buffer: as many as need it often.
often() {
	local bytes=$(($1 * $(by_tier 64 256)))
	echo $((bytes < (1 << 20) ? bytes : 1 << 20))
}

small_discard() {
	local size
	data 1 >"$TMP/data"
	for size in "$@"; do
		echo "buffer of $size"
		OPTIONS=$(buffer "$size") arrives head -c "$(often "$size")" "$TMP/data"
		# The same for one that is made so small when it is open already.
		OPTIONS=$(buffer "$size" connected) arrives head -c "$(often "$size")" "$TMP/data"
	done
}

small_echo() {
	local size
	data 1 >"$TMP/data"
	for size in "$@"; do
		echo "buffer of $size"
		head -c "$(often "$size")" "$TMP/data" >"$TMP/in"
		exchange "VSOCK-CONNECT:$PEER_CID:7,$(buffer "$size")" "$TMP/in" "$TMP/out"
	done
}

small_chargen() {
	local size want got
	for size in "$@"; do
		echo "buffer of $size"
		want=$(chargen_data "$(often "$size")" | crc32)
		got=$(bytes_of "$(often "$size")" "VSOCK-CONNECT:$PEER_CID:19,$(buffer "$size")" | crc32)
		[ "$got" = "$want" ] || die "should be $want, got $got"
	done
}

small_call_back() {
	local size port=4600
	for size in "$@"; do
		echo "buffer of $size"
		port=$((port + 1))
		call_back $port 1 "$(buffer "$size" listen)"
	done
}

# Less than what Linux counts for a packet: Linux ends such a connection, and nobody waits. Before 7.3 connect()
# fails by that, if the first packet was there when it looked.
too_small() {
	local size got
	for size in 1 128 500; do
		got=$(bytes_of 100 "VSOCK-CONNECT:$PEER_CID:19,$(buffer "$size")" 2>"$TMP/error" | wc -c) ||
			grep -q "connect(.*No buffer space available" "$TMP/error" || die "$(cat "$TMP/error")"
		[ "$got" -eq 0 ] || die "a buffer of $size takes $got bytes"
	done
	echo_once
}

# ---------------------------------------------------------------- many clients

LIMIT=32

connections() {
	[ -x "$HERE/connections" ] || skip "no $HERE/connections: run make"
	"$HERE/connections" vsock "$@"
}

# churn ROUNDS PORT HOW...: nobody is refused up to the limit.
churn() {
	local rounds=$1 port=$2 clients
	shift 2
	for clients in 20 28 $LIMIT; do
		echo "$clients clients"
		connections "$port" churn $clients "$rounds" "$@"
	done
}

full() {
	connections 7 full $LIMIT 200
	echo_once
}

add "link up" 60 up
add "connect and echo" 60 echo_once
add "half-close" 60 half_close
add "connect to a closed port is refused" 60 refused
add "the peer connects to us" 60 call_back 4567 1
add "the peer connects to a port where nobody listens" 60 call_back_nobody
add "chargen with a reader that goes away" 60 chargen
add "discard" 60 arrives data 4
add "50 connections in a row" 60 many_in_a_row
add "a reader that does not read for a while" 60 slow_reader
add "echo of 16 MiB, checksums equal" 120 echoed VSOCK-CONNECT:$PEER_CID:7 16
add "$MIB MiB to the peer, checksums equal" 180 arrives data "$MIB"
add "$MIB MiB from the peer, checksums equal" 180 from_peer
add "8 connections at once" 120 eight_at_once
add "discard with buffers of all sizes" 120 small_discard 1 128 256 1000 4096 32768 65536 262144 1048576
add "echo with buffers of all sizes" 120 small_echo 600 1000 1200 4096 32768 65536 262144 1048576
add "chargen with buffers of all sizes" 120 small_chargen 600 1000 1200 4096 32768 65536 262144 1048576
add "the peer connects to buffers of all sizes" 120 small_call_back 1000 4096 32768 262144
add "a buffer too small for any packet" 60 too_small
add "connect, echo, close: up to the limit nobody is refused" 120 churn "$(by_tier 20 60)" 7 echo both
add "half-closed: up to the limit nobody is refused" 120 churn "$(by_tier 20 60)" 7 half
add "much on the way: up to the limit nobody is refused" 120 churn "$(by_tier 10 30)" 9 bulk
add "closed by the reader: up to the limit nobody is refused" 120 churn "$(by_tier 10 30)" 19 unread
add "given up before the answer: up to the limit nobody is refused" 120 churn "$(by_tier 20 60)" 7 hasty echo silent
add "one more than the limit is refused" 120 full
run_tests
