#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer's network device under the stock virtio_net.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

MIB=${HVL_BULK_MIB:-256}

stock_driver() {
	ethtool -i "$(netdev)" | tee "$TMP/ethtool"
	grep -qx 'driver: virtio_net' "$TMP/ethtool"
}

dhcp() {
	local dev
	dev=$(netdev)
	ip addr flush dev "$dev"
	ip link set "$dev" up
	udhcpc -i "$dev" -n -q -t 20 -T 1
	ip -4 -o addr show dev "$dev"
	ip -4 -o addr show dev "$dev" | grep -F " $OUR_IP/24 " >/dev/null
}

ping_flood() {
	net_up
	pings_answered 1000 -i 0.002
}

ping_sizes() {
	local size
	for size in 0 1 17 63 64 500 1400 1472; do
		pings_answered 10 -i 0.005 -s $size || die "pings of $size bytes are lost"
	done
}

http() {
	curl -sS -m "$PATIENCE" -D "$TMP/head" -o "$TMP/page" http://$PEER_IP/
	head -n 1 "$TMP/head"
	grep -q '^HTTP/1.[01] 200' "$TMP/head"
	[ -s "$TMP/page" ]
	[ "$(curl -sS -m "$PATIENCE" -o /dev/null -w '%{http_code}' http://$PEER_IP/no-such-page)" = 404 ]
}

# The peer's account of a finished connection: SERVICE, our PORT.
peer_sums() { curl -sS -m "$PATIENCE" http://$PEER_IP/sums | grep " tcp $1 port $2 "; }
finished() { peer_sums "$@" >/dev/null; }

to_peer() {
	local port=$((20000 + RANDOM % 10000)) want
	want=$(data "$MIB" | crc32)
	data "$MIB" | socat -u -b 65536 - TCP:$PEER_IP:9,sourceport=$port
	wait_for "the peer's checksum of the connection" finished discard $port
	peer_sums discard $port
	peer_sums discard $port | grep " received $((MIB << 20)) crc32 $want " >/dev/null ||
		die "should be: received $((MIB << 20)) crc32 $want"
}

from_peer() {
	local want got
	want=$(chargen_data $((MIB << 20)) | crc32)
	got=$(bytes_of $((MIB << 20)) TCP:$PEER_IP:19 | crc32)
	[ "$got" = "$want" ] || die "should be $want, got $got"
}

# What iperf says that it has sent is what the peer says that it has got.
iperf_to_peer() {
	local out port bytes
	command -v iperf >/dev/null || skip "no iperf (version 2, which needs no server of its own)"
	out=$(iperf -c $PEER_IP -p 9 -n "${MIB}M" -y C)
	port=$(cut -d, -f3 <<<"$out")
	bytes=$(cut -d, -f8 <<<"$out")
	[ "$bytes" -ge $((MIB << 20)) ] || die "iperf sent $bytes bytes: $out"
	wait_for "the peer to have got $bytes bytes" \
		eval "curl -sS -m $PATIENCE http://$PEER_IP/sums | grep ' tcp discard port $port received $bytes ' >/dev/null"
}

eight_at_once() {
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		{ printf 'connection %d\n' "$i"; data "$(by_tier 2 4)"; } >"$TMP/in.$i"
		exchange TCP:$PEER_IP:7 "$TMP/in.$i" "$TMP/out.$i" &
		pids+=($!)
	done
	for i in 1 2 3 4 5 6 7 8; do
		wait "${pids[i - 1]}" || die "connection $i failed"
		cmp "$TMP/in.$i" "$TMP/out.$i"
	done
}

connections() {
	[ -x "$HERE/connections" ] || skip "no $HERE/connections: run make"
	"$HERE/connections" tcp "$@"
}

# churn CLIENTS PORT HOW...: as many clients as there may be connections; nobody is refused.
churn() { connections "$2" churn "$1" 100 "${@:3}"; }

# SYNs that had to be sent again.
retransmitted() {
	awk '/^TcpExt:/ { if (!n++) for (i = 1; i <= NF; i++) at[$i] = i; else print $at["TCPSynRetrans"] }' \
		/proc/net/netstat
}

# Refused soon: who gets no answer asks again. A machine that is busy may be slow now and then.
full() {
	local before more
	before=$(retransmitted)
	connections 7 full 8 100
	more=$(($(retransmitted) - before))
	[ $more -lt 50 ] || die "$more of 100 had to ask again before they were refused"
}

udp_echo() {
	local size i
	for size in 1 100 1472; do
		head -c $size "$TMP/data.1" >"$TMP/datagram"
		# A datagram may be lost, but not all of ten.
		for i in 1 2 3 4 5 6 7 8 9 10; do
			socat -t 2 -b 2000 - UDP:$PEER_IP:7,readbytes=$size <"$TMP/datagram" >"$TMP/answer"
			[ ! -s "$TMP/answer" ] || break
		done
		cmp "$TMP/datagram" "$TMP/answer"
	done
}

# large WAY: how many frames that are larger than the link's went that way.
large() { curl -sS -m "$DEADLINE" http://$PEER_IP/ | sed -n "s/^net large:.* $1 \([0-9]*\).*/\1/p"; }

# One side makes frames of up to 64 KiB, and the other cuts them, if it has to.
large_both_ways() {
	local dev sent received
	dev=$(netdev)
	ethtool -k "$dev" | grep -E '^(tcp-segmentation-offload|rx-checksumming|tx-checksumming): on'
	[ "$(ethtool -k "$dev" | grep -cE '^(tcp-segmentation-offload|rx-checksumming|tx-checksumming): on')" -eq 3 ]
	sent=$(large sent)
	received=$(large received)
	echoed TCP:$PEER_IP:7 8
	from_peer_short
	echo "large frames: sent $sent, then $(large sent); received $received, then $(large received)"
	[ "$(large sent)" -gt $((sent + 20)) ] || die "the peer sends no large frames"
	[ "$(large received)" -gt $((received + 20)) ] || die "Linux sends no large frames"
}

from_peer_short() {
	[ "$(bytes_of $((8 << 20)) TCP:$PEER_IP:19 | crc32)" = "$(chargen_data $((8 << 20)) | crc32)" ]
}

# What arrives is what was sent also where Linux does not put segments together, and where its
# interface takes less than the device.
large_with() {
	local dev
	dev=$(netdev)
	"$@"
	echoed TCP:$PEER_IP:7 4
	from_peer_short
}

without_gro() {
	local dev
	dev=$(netdev)
	large_with ethtool -K "$dev" gro off
	ethtool -K "$dev" gro on
}

lowered_mtu() {
	local dev mtu max
	dev=$(netdev)
	max=$(ip -o link show dev "$dev" | sed 's/.* mtu \([0-9]*\) .*/\1/')
	for mtu in 1500 600; do
		large_with ip link set "$dev" mtu $mtu
		pings_answered 20 -i 0.002
	done
	ip link set "$dev" mtu "$max"
}

# A peer that leaves all of that to Linux.
no_offload() {
	local firmware
	firmware=$(patch_firmware plain "offload=no")
	fresh
	start_peer "$firmware"
	load
	usable
	echoed TCP:$PEER_IP:7 4
	from_peer_short
	[ "$(large sent) $(large received)" = "0 0" ] || die "frames are larger than the link's"
	fresh
	up
}

# Resizing resets each queue of the running device.
ring_resize() {
	local dev max before after
	dev=$(netdev)
	ethtool -g "$dev"
	max=$(ethtool -g "$dev" | awk '/^RX:/ { print $2; exit }')
	before=$(ethtool -g "$dev" | awk '/^RX:/ { n++ } /^RX:/ && n == 2 { print $2 }')
	after=$((before / 2))
	ethtool -G "$dev" rx $after tx $after
	[ "$(ethtool -g "$dev" | awk '/^RX:/ { n++ } /^RX:/ && n == 2 { print $2 }')" -eq $after ]
	pings_answered 100 -i 0.002
	echoed TCP:$PEER_IP:7 2
	ethtool -G "$dev" rx "$max" tx "$max"
	pings_answered 100 -i 0.002
}

down_up() {
	local dev i
	dev=$(netdev)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		ip link set "$dev" down
		ip link set "$dev" up
		wait_for "an answer after being down, $i" pings
	done
}

refused() {
	local said
	if said=$(socat -u /dev/null TCP:$PEER_IP:81,connect-timeout=$PATIENCE 2>&1); then
		die "somebody answers on port 81"
	fi
	grep -q 'refused' <<<"$said" || die "$said"
}

# lease DEVICE [COMMAND...]: the address that DHCP gives, and nothing else.
lease() {
	local dev=$1
	shift
	"$@" ip addr flush dev "$dev"
	"$@" ip link set "$dev" up
	"$@" udhcpc -i "$dev" -n -q -t 5 -T 1 >&2
	"$@" ip -4 -o addr show dev "$dev" | awk '{ print $4 }'
}

# other_lease ADDRESS: it is not our own, but one of the same subnet.
other_lease() {
	[[ $1 = 10.77.0.*/24 && $1 != "$OUR_IP/24" && $1 != "$PEER_IP/24" ]] || die "no other lease: $1"
}

set_mac() {
	ip link set "$(netdev)" down
	ip link set "$(netdev)" address "$1"
	ip link set "$(netdev)" up
}

another_mac() {
	local dev mac got
	up
	dev=$(netdev)
	mac=$(cat "/sys/class/net/$dev/address")
	# shellcheck disable=SC2064
	trap "set_mac $mac; net_up" EXIT
	set_mac 06:00:00:00:00:77
	got=$(lease "$dev")
	other_lease "$got"
	pings_answered 100 -i 0.002
	echoed TCP:$PEER_IP:7 2
	# The same one again.
	[ "$(lease "$dev")" = "$got" ]
	set_mac "$mac"
	[ "$(lease "$dev")" = "$OUR_IP/24" ]
}

within() { ip netns exec hvl-other "$@"; }

# Ends what second_client has made, whatever there is of it.
alone() {
	# Not left to the end of the namespace, which comes some time later.
	within ip link del other || true
	ip netns del hvl-other || true
	if [ -e /sys/class/net/hvl-bridge ]; then ip link del hvl-bridge; fi
	net_up
}

# second_client KIND: one in a network namespace, on a bridge with our interface or a macvlan on
# top of that. Both have a lease and exchange data, at the same time.
second_client() {
	local dev ours theirs first i pids=()
	up
	dev=$(netdev)
	modprobe "$1" || skip "no module $1"
	trap alone EXIT
	ip netns add hvl-other
	if [ "$1" = bridge ]; then
		modprobe veth || skip "no module veth"
		ip link add hvl-bridge address "$(cat "/sys/class/net/$dev/address")" type bridge
		ip link set hvl-bridge up
		ip addr flush dev "$dev"
		ip link set "$dev" master hvl-bridge
		ip link add hvl-veth type veth peer name other netns hvl-other
		ip link set hvl-veth master hvl-bridge up
		first=hvl-bridge
	else
		ip link add link "$dev" name other netns hvl-other type macvlan mode bridge
		first=$dev
	fi
	theirs=$(lease other within)
	other_lease "$theirs"
	ours=$(lease $first)
	[ "$ours" = "$OUR_IP/24" ] || die "our lease is $ours"
	within ping -q -c 100 -i 0.002 $PEER_IP | grep ' 100 received, 0% packet loss' >/dev/null

	data "$(by_tier 2 8)" >"$TMP/sent.1"
	tac "$TMP/sent.1" >"$TMP/sent.2"
	for i in 1 2 3 4; do
		HVL_SEND=$TMP/sent.1 HVL_GET=$TMP/got.$i socat TCP:$PEER_IP:7 EXEC:"$HERE/both_ways.sh",nofork &
		pids+=($!)
		HVL_SEND=$TMP/sent.2 HVL_GET=$TMP/other.$i within \
			socat TCP:$PEER_IP:7 EXEC:"$HERE/both_ways.sh",nofork &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	for i in 1 2 3 4; do
		cmp "$TMP/sent.1" "$TMP/got.$i"
		cmp "$TMP/sent.2" "$TMP/other.$i"
	done
	# Each still has its own.
	[ "$(lease other within)" = "$theirs" ]
	curl -sS -m "$DEADLINE" http://$PEER_IP/ | grep '^stack: refused 0$' >/dev/null || die "frames were refused"
}

# dropped CAUSE: how often it was the cause for which the peer's stack dropped something.
dropped() { curl -sS -m "$DEADLINE" http://$PEER_IP/ | sed -n "s/^stack drops:.* $1 \([0-9]*\).*/\1/p"; }

# counted CAUSE BY COMMAND...: that cause's counter moves by so much; the command may fail.
counted() {
	local before by=$2 cause=$1 after
	shift 2
	before=$(dropped "$cause")
	"$@" || true
	after=$(dropped "$cause")
	[ $((after - before)) -eq "$by" ] || die "$cause: $((after - before)) in place of $by: $*"
}

nine_connections() {
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		socat -u TCP:$PEER_IP:7 OPEN:/dev/null &
		pids+=($!)
	done
	eight() { [ "$(ss -Htn state established dst $PEER_IP dport = 7 | wc -l)" -eq 8 ]; }
	wait_for "eight connections" eight
	socat -u /dev/null TCP:$PEER_IP:7,connect-timeout=$DEADLINE || true
	kill "${pids[@]}"
}

dropped_by_cause() {
	local dev
	up
	dev=$(netdev)
	# Two fragments each.
	counted fragment 6 ping -q -c 3 -i 0.01 -W 1 -s 20000 $PEER_IP
	counted closed 1 socat -u /dev/null TCP:$PEER_IP:81,connect-timeout=$DEADLINE
	counted busy 1 nine_connections
	ip addr add 192.168.77.1/32 dev "$dev"
	counted source 2 ping -q -c 2 -i 0.01 -W 1 -I 192.168.77.1 $PEER_IP
	ip addr del 192.168.77.1/32 dev "$dev"
	counted destination 1 arping_once "$dev"
}

# A question for somebody who is not there, asked once.
arping_once() { busybox arping -q -c 1 -w 1 -I "$1" 10.77.0.99; }

add "link up" 60 up
add "ethtool -i shows virtio_net" 30 stock_driver
add "DHCP lease" 60 dhcp
add "1000 pings without loss" 120 ping_flood
add "pings of all sizes" 60 ping_sizes
add "UDP echo" 60 udp_echo
add "TCP: echo of 16 MiB, checksums equal" 120 echoed TCP:$PEER_IP:7 16
add "TCP: $MIB MiB to the peer, checksums equal" 180 to_peer
add "TCP: $MIB MiB from the peer, checksums equal" 180 from_peer
add "TCP: frames of up to 64 KiB both ways" 120 large_both_ways
add "TCP: 8 connections at once" 120 eight_at_once
add "queue reset by ethtool -G" 60 ring_resize
add "interface down and up 10 times" 120 down_up
# The rest has little to do with the machine.
if [ -z "${HVL_FEWER-}" ]; then
	add "DHCP lease with another Ethernet address" 120 another_mac
	add "DHCP lease for a second client, on a bridge" 180 second_client bridge
	add "DHCP lease for a second client, a macvlan" 180 second_client macvlan
	add "what the peer drops is counted by its cause" 120 dropped_by_cause
	add "HTTP by curl" 60 http
	add "connect to a closed port is refused" 60 refused
	add "TCP: frames of up to 64 KiB, without GRO" 120 without_gro
	add "TCP: both ways with a smaller MTU" 120 lowered_mtu
	add "TCP: both ways without offloads" 180 no_offload
	add "TCP: iperf into the discard port" 240 iperf_to_peer
	add "TCP: echo, up to the limit nobody is refused" 120 churn 8 7 echo half both
	add "TCP: discard, up to the limit nobody is refused" 120 churn 8 9 silent half
	add "TCP: chargen, up to the limit nobody is refused" 120 churn 8 19 unread
	add "TCP: HTTP, up to the limit nobody is refused" 120 churn 4 80 http
	add "TCP: one more than the limit is refused soon" 120 full
fi
data 0 # makes what udp_echo takes its datagrams from
run_tests
