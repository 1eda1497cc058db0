#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Sockets of the peer's that carry messages (SOCK_SEQPACKET): each arrives as it was sent.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

COUNT=100 ROUNDS=25
[ -z "${HVL_LONG:-}" ] || COUNT=3000 ROUNDS=400
# What the peer's buffer holds, and Linux's own by default.
PEERS=65536 OURS=262144

messages() {
	[ -x "$HERE/messages" ] || skip "no $HERE/messages: run make"
	"$HERE/messages" "$@"
}

socat_echo() {
	local at=VSOCK-CONNECT:$PEER_CID:7,type=5
	[ "$(printf 'one message' | socat -t "$PATIENCE" - "$at")" = "one message" ]
}

accounted() {
	socat -u -t "$PATIENCE" VSOCK-CONNECT:$PEER_CID:21 - |
		awk '$2 == "seqpacket" && $3 == "discard"' | grep -F " $1 $2 $3 $4 " | grep " messages $6 0\$" >/dev/null
}

# The peer has counted bytes and messages, and their CRC.
discard() {
	local sums
	# shellcheck disable=SC2086
	sums=$(messages discard "$@")
	# shellcheck disable=SC2086
	wait_for "the peer to have got: $sums" accounted $sums
}

# Whatever the size of Linux's buffer, which bounds a message.
buffers() {
	local size
	for size in 1200 4096 10000 65536 $OURS 1048576; do
		echo "buffer of $size"
		messages echo -b $size -l $((size < PEERS ? size : PEERS)) -s "$size" -w 1 "$COUNT"
		discard -b $size -l $((size < PEERS ? size : PEERS)) -s "$size" "$COUNT"
		messages chargen -b $size $((size < OURS ? size : OURS)) 20
	done
}

# Linux counts what packets cost it: small messages must not fill it with them.
small() {
	messages echo -l 1 -w 50 $((COUNT * 10))
	messages chargen 1 $((COUNT * 20))
	messages chargen 0 $COUNT
	messages chargen -b 4096 1 $COUNT
}

under_load() {
	local i pids=()
	bytes_of $((64 << 20)) VSOCK-CONNECT:$PEER_CID:19 >/dev/null &
	pids+=($!)
	data 16 | socat -u -b 65536 - VSOCK-CONNECT:$PEER_CID:9 &
	pids+=($!)
	for i in 1 2 3; do
		messages echo -l $PEERS -s "$i" "$COUNT" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
}

connections() {
	[ -x "$HERE/connections" ] || skip "no $HERE/connections: run make"
	"$HERE/connections" seqpacket "$@"
}

# Thousands of short ones of both kinds; nobody is refused up to the limit.
churn() {
	connections 7 churn 32 $((ROUNDS * 4)) mixed echo both half silent
	connections 9 churn 32 $ROUNDS mixed bulk
	connections 19 churn 32 $ROUNDS mixed unread
	connections 7 churn 28 $ROUNDS mixed hasty echo
}

full() { connections 7 full 32 100; }

# A peer that goes away: errors, and nobody waits.
restart() {
	local pid held=$TMP/held
	messages hold stream message message >"$held" &
	pid=$!
	wait_for "sockets that are open" grep -q held "$held"
	stop_peer
	wait $pid
	cat "$held"
	[ "$(grep -cE '^(stream|message): (Connection reset by peer|end)$' "$held")" -eq 3 ]
	! messages echo 1 2>"$TMP/said" || die "somebody answers"
	start_peer
	usable
	messages echo 10
}

add "link up" 60 up
add "one message there and back, by socat" 60 socat_echo
add "random messages and records come back" 120 messages echo -l $PEERS "$COUNT"
add "the same, many under way" 120 messages echo -l 1500 -w 20 "$COUNT"
add "messages are counted" 60 discard "$COUNT"
add "buffers of all sizes" 240 buffers
add "many small messages, and some without bytes" 120 small
add "a message larger than a buffer" 60 messages toolarge 5000
add "the peer connects to us" 60 messages listen 4570 -l 5000 "$COUNT"
add "streams are not mixed up with messages" 60 messages mismatch
add "beside streams under load" 180 under_load
add "thousands of short connections of both kinds" 240 churn
add "one more than the limit is refused" 120 full
add "a peer that restarts" 120 restart
run_tests
