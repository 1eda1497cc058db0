#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The stock iperf3 against the peer's server for it. Judged by what both ends say of the same test,
# never by how fast that was.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# The server's way to say why it does not measure.
BUSY='the server is busy running a test'

# measure HOST OPTION...: a test; the client's report is in $TMP/report.
measure() {
	if ! iperf3 -J -c "$@" >"$TMP/report" 2>&1; then
		cat "$TMP/report"
		die "iperf3 -c $*"
	fi
}

# figure SECTION NAME: a number of the report's end.
figure() {
	awk -v section="\"$1\":" -v name="\"$2\":" '
		$1 == "\"end\":" { end = 1 }
		end && $1 == section { inside = 1 }
		inside && $1 == name { sub(/,$/, "", $2); print $2; exit }
	' "$TMP/report"
}

# Bytes that the report tells of, of all streams: what was sent, and what was received.
sent() { figure sum_sent bytes; }
received() { figure sum_received bytes; }

# streams COUNT: so many are in the report's end.
streams() {
	[ "$(awk '$1 == "\"end\":" { end = 1 } end && $1 == "\"sender\":" && $2 == "{" { n++ } END { print n }' \
		"$TMP/report")" -eq "$1" ] || die "not $1 streams"
}

# What a client that ends has written of a block of each stream, it does not count as sent.
BLOCK=$((128 << 10))

# to_peer HOST STREAMS: so many bytes as were asked for are sent, and what has been sent comes, also what is
# still on its way when the client says that it has enough.
to_peer() {
	measure "$1" -n 16M -P "$2"
	streams "$2"
	echo "sent $(sent), received $(received)"
	[ "$(sent)" -ge $((16 << 20)) ]
	[ "$(received)" -ge $((8 << 20)) ]
	[ "$(received)" -le $(($(sent) + $2 * BLOCK)) ]
}

# from_peer HOST STREAMS: what is received was sent, and is what was asked for at least.
from_peer() {
	measure "$1" -R -n 16M -P "$2"
	streams "$2"
	echo "sent $(sent), received $(received)"
	[ "$(received)" -ge $((16 << 20)) ]
	[ "$(received)" -le "$(sent)" ]
}

# for_a_second HOST OPTION...: by the clock.
for_a_second() {
	measure "$@" -t 1
	echo "sent $(sent), received $(received)"
	[ "$(sent)" -gt 0 ]
	[ "$(received)" -gt 0 ]
}

both_ways() {
	measure "$1" --bidir -t 1
	[ "$(sent)" -gt 0 ]
	[ "$(received)" -gt 0 ]
	[ "$(figure sum_received_bidir_reverse bytes)" -gt 0 ]
	[ "$(figure sum_received_bidir_reverse bytes)" -le "$(figure sum_sent_bidir_reverse bytes)" ]
}

# A line of text, as people see it.
in_words() {
	iperf3 -c $PEER_IP -t 1 >"$TMP/report"
	cat "$TMP/report"
	grep -q ' sender$' "$TMP/report"
	grep -q ' receiver$' "$TMP/report"
}

# count NAME: how often the server has counted that.
count() {
	curl -sS -m "$PATIENCE" http://$PEER_IP/ | sed -n "s/^iperf:.* $1 \([0-9]*\).*/\1/p"
}

# A second client is told so at once, and the first one's test goes on.
second_client() {
	local denied first
	denied=$(count denied)
	iperf3 -J -c $PEER_IP -t 3 >"$TMP/first" 2>&1 &
	first=$!
	wait_for "the first one's streams" established 2
	! iperf3 -J -c $PEER_IP -t 1 >"$TMP/report" 2>&1 || die "a second client is served"
	grep -q "$BUSY" "$TMP/report" || die "it is told: $(cat "$TMP/report")"
	wait $first || die "the first one fails: $(cat "$TMP/first")"
	[ "$(count denied)" -gt "$denied" ]
	for_a_second $PEER_IP
}

established() { [ "$(ss -Htn state established dst $PEER_IP dport = 5201 | wc -l)" -ge "$1" ]; }

# A client that is killed in the middle does not keep the next one waiting.
killed() {
	local client
	iperf3 -c $PEER_IP -t 600 >/dev/null 2>&1 &
	client=$!
	wait_for "its streams" established 2
	kill -KILL $client
	wait $client || true
	wait_for "a test of the next one's" next_one
}

next_one() { iperf3 -J -c $PEER_IP -n 1M >"$TMP/report" 2>&1; }

too_many() {
	! iperf3 -J -c $PEER_IP -P 9 -t 1 >"$TMP/report" 2>&1 || die "nine streams are served"
	grep -q 'parallel streams too large' "$TMP/report" || die "it is told: $(cat "$TMP/report")"
}

# Datagrams that the report tells of, and those that are missing, of all streams.
packets() { figure "${1:-sum}" packets; }
lost() { figure "${1:-sum}" lost_packets; }

# udp_to_peer HOST OPTION...: at a moderate rate nothing is lost. (Of each stream, what the client sends while it says
# that it has enough may not count, on either side.)
udp_to_peer() {
	measure "$@" -u -l 1400 -b 8M -t 1
	echo "$(packets) datagrams, $(lost) lost, jitter $(figure sum jitter_ms) ms"
	[ "$(packets)" -ge 100 ]
	[ "$(lost)" -eq 0 ]
	[ "$(figure sum_received bytes)" -le $(($(figure sum_sent bytes) + 4 * 1400)) ]
	[ "$(figure sum_received bytes)" -ge $(($(figure sum_sent bytes) / 2)) ]
}

# udp_from_peer HOST OPTION...: by the peer's clock; the client may look away for a moment.
udp_from_peer() {
	measure "$@" -u -R -l 1400 -b 8M -t 1
	echo "$(packets sum_sent) datagrams, $(packets sum_received) received"
	[ "$(packets sum_received)" -ge 50 ]
	[ "$(packets sum_received)" -le "$(packets sum_sent)" ]
}

# As fast as it goes: what is sent came or is missing.
udp_flood() {
	measure "$@" -u -b 0 -t 1
	echo "$(packets) datagrams, $(lost) lost"
	[ "$(packets)" -gt 0 ]
	[ "$(lost)" -lt "$(packets)" ]
}

udp_floods() {
	udp_flood "$1"
	udp_flood "$1" -R
}

udp_by_ipv6() {
	local to
	to=fe80::ff:fe00:1%$(netdev)
	udp_to_peer "$to" --udp-counters-64bit
	udp_from_peer "$to" --udp-counters-64bit
}

udp_both_ways() {
	measure "$1" -u -b 4M --bidir -t 1
	[ "$(figure sum_received packets)" -gt 0 ]
	[ "$(figure sum_received_bidir_reverse packets)" -gt 0 ]
}

# One that does not fit into a packet.
udp_too_large() {
	! iperf3 -J -c "$1" -u -l 60000 -t 1 >"$TMP/report" 2>&1 || die "it is measured"
	grep -qi 'block size' "$TMP/report" || die "it is told: $(cat "$TMP/report")"
	# And nobody listens where there is no test.
	udp_to_peer "$1"
}

need() { command -v iperf3 >/dev/null || skip "no iperf3"; up; }

add "link up, and iperf3 is there" 60 need
add "in words" 60 in_words
for n in 1 4; do
	add "TCP, $n streams to the peer" 60 to_peer $PEER_IP $n
	add "TCP, $n streams from the peer" 60 from_peer $PEER_IP $n
done
add "TCP, 8 streams of blocks of 1000 bytes, the first second left out" 60 for_a_second $PEER_IP -l 1000 -O 1 -P 8
add "TCP, from the peer at 8 Mbit/s" 60 for_a_second $PEER_IP -R -b 8M
add "TCP, both ways at once" 60 both_ways $PEER_IP
add "nine streams are refused in words" 60 too_many
for n in 1 4; do
	add "UDP, $n streams to the peer: nothing is lost" 60 udp_to_peer $PEER_IP -P $n
	add "UDP, $n streams from the peer" 60 udp_from_peer $PEER_IP -P $n
done
add "UDP by IPv6, long counters" 60 udp_by_ipv6
add "UDP, as fast as it goes, each way" 60 udp_floods $PEER_IP
add "UDP, both ways at once" 60 udp_both_ways $PEER_IP
add "UDP, what does not fit into a packet is refused in words" 60 udp_too_large $PEER_IP
add "a second client is told that the server is busy" 120 second_client
add "a client that is killed makes room for the next" 120 killed
run_tests
