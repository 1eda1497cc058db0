#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer's network services over IPv6: its link-local address, and one that it is given.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# What the peer's Ethernet address makes.
LOCAL=fe80::ff:fe00:1
# What it is given, and what Linux gets by hand.
OTHER=fd00:77::1
OURS=fd00:77::2

have_address() { ip -6 -o addr show dev "$(netdev)" scope link | grep -v tentative | grep -q fe80:; }

# A peer that has one more address.
up6() {
	local dev
	fresh
	start_peer "$(patch_firmware ipv6 "ip6=$OTHER/64")"
	load
	wait_for "the link to be up" link_is up
	net_up
	dev=$(netdev)
	wait_for "a link-local address of ours" have_address
	ip -6 addr add $OURS/64 dev "$dev" nodad
	wait_for "an answer to a ping" pings6 $OTHER
}

pings6() { ping -6 -q -c 1 -W 1 "$1" >/dev/null; }
near() { echo "$LOCAL%$(netdev)"; }

# Of all nodes: the peer answers, by its own address.
all_nodes() {
	ping -6 -n -c 3 -i 0.1 -w "$PATIENCE" "ff02::1%$(netdev)" | tee "$TMP/pings"
	grep -q "from $LOCAL%" "$TMP/pings"
}

# Asked for its Ethernet address afresh.
neighbour() {
	local dev
	dev=$(netdev)
	ip -6 neigh flush dev "$dev"
	wait_for "an answer to a ping" pings6 "$(near)"
	ip -6 neigh show dev "$dev" | tee "$TMP/neigh"
	grep -q "^$LOCAL lladdr 02:00:00:00:00:01 " "$TMP/neigh"
}

sizes() {
	local size
	for size in 0 1 64 1452 8000; do
		ping -6 -q -c 5 -i 0.01 -w "$PATIENCE" -s $size "$1" >"$TMP/pings" ||
			die "no answer to pings of $size bytes: $(cat "$TMP/pings")"
	done
}

page() {
	curl -sS -g -m "$PATIENCE" "http://[$LOCAL%25$(netdev)]/$1"
}

http() {
	page '' >"$TMP/page"
	grep -q '^virtio-hvl peer ' "$TMP/page"
	[ "$(curl -sS -g -m "$PATIENCE" -o /dev/null -w '%{http_code}' "http://[$OTHER]/sums")" = 200 ]
}

finished() { page sums | grep " tcp discard port $1 " >/dev/null; }

to_peer() {
	local port=$((20000 + RANDOM % 10000)) want
	want=$(data 16 | crc32)
	data 16 | socat -u -b 65536 - "TCP6:[$(near)]:9,sourceport=$port"
	wait_for "the peer's checksum of the connection" finished $port
	page sums | grep " tcp discard port $port received $((16 << 20)) crc32 $want " >/dev/null ||
		die "should be: received $((16 << 20)) crc32 $want; is: $(page sums | grep " port $port ")"
}

from_peer() {
	[ "$(bytes_of $((16 << 20)) "TCP6:[$1]:19" | crc32)" = "$(chargen_data $((16 << 20)) | crc32)" ]
}

udp_echo() {
	local size i
	for size in 1 100 1452; do
		head -c $size "$TMP/data.1" >"$TMP/datagram"
		# A datagram may be lost, but not all of ten.
		for i in 1 2 3 4 5 6 7 8 9 10; do
			socat -t 2 -b 2000 - "UDP6:[$1]:7,readbytes=$size" <"$TMP/datagram" >"$TMP/answer"
			[ ! -s "$TMP/answer" ] || break
		done
		cmp "$TMP/datagram" "$TMP/answer"
	done
}

refused() {
	! socat -u /dev/null "TCP6:[$(near)]:81,connect-timeout=$DEADLINE" 2>"$TMP/why" || die "it is accepted"
	grep -q 'Connection refused' "$TMP/why" || die "it is not refused: $(cat "$TMP/why")"
}

iperf() {
	command -v iperf3 >/dev/null || skip "no iperf3"
	iperf3 -6 -c $OTHER -n 4M -P 2
	iperf3 -6 -c "$(near)" -n 4M -R
}

# drops CAUSE: how many of those there are.
drops() { page '' | sed -n "s/^stack drops:.* $1 \([0-9]*\).*/\1/p"; }

# What a neighbour must not do is counted by its cause, and the rest of the drops does not move.
dropped() {
	local before
	before=$(drops fragment)
	ping -6 -q -c 2 -i 0.01 -W 1 -s 20000 "$(near)" >/dev/null || true
	[ "$(drops fragment)" -ge $((before + 2)) ]
	[ "$(drops malformed)" -eq 0 ]
	[ "$(drops checksum)" -eq 0 ]
}

add "link up with an IPv6 address more" 60 up6
add "ping of all nodes" 60 all_nodes
add "neighbour discovery" 60 neighbour
add "pings of all sizes, link-local" 60 eval 'sizes "$(near)"'
add "pings of all sizes, the other address" 60 sizes $OTHER
add "HTTP by curl, link-local and the other address" 60 http
add "TCP: echo of 8 MiB, checksums equal" 120 eval 'echoed "TCP6:[$(near)]:7" 8'
add "TCP: echo at the other address" 120 echoed "TCP6:[$OTHER]:7" 8
add "TCP: 16 MiB to the peer, checksums equal" 120 to_peer
add "TCP: 16 MiB from the peer, checksums equal" 120 eval 'from_peer "$(near)"'
add "UDP echo, link-local" 60 eval 'udp_echo "$(near)"'
add "UDP echo, the other address" 60 udp_echo $OTHER
add "connect to a closed port is refused" 60 refused
add "iperf3 to the peer and from it" 120 iperf
add "what the peer drops is counted by its cause" 60 dropped
data 0 # makes what udp_echo takes its datagrams from
run_tests
