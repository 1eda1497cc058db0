#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A network device with several pairs of queues and a control queue, under the stock virtio_net.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PAIRS=4
MIB=${HVL_BULK_MIB:-16}
[ -n "${HVL_LONG:-}" ] || MIB=8

# begin WORDS: a peer with such a network device, in use.
begin() {
	local firmware
	firmware=$(patch_firmware netmq "devices=net,vsock $*")
	fresh
	load
	start_peer "$firmware"
	usable
}

several() { begin "net-queues=$PAIRS net-speed=10000 mtu=65535"; }

# The peer's status page, by the way that has nothing to do with this device.
page() { socat -t "$DEADLINE" -u VSOCK-CONNECT:$PEER_CID:21 -; }
control() { [ "$(echo "$*" | socat -t "$DEADLINE" - VSOCK-CONNECT:$PEER_CID:22)" = ok ] || die "the peer does not take: $*"; }
# counter LINE NAME: the figure behind NAME in that line of the page.
counter() { page | sed -n "s/^$1:.* $2 \([0-9]*\).*/\1/p"; }

# used QUEUE: chains that went through a queue of the device, as the driver counts them.
used() { debug devices | awk -v dev="$LINK.0" -v queue="$1" '
	/^[^ ]/ { ours = index($1, dev) == 1 }
	ours && $1 == "queue" && $2 == queue ":" { for (i = 3; i < NF; i++) if ($i == "used") print $(i + 1) }'; }

setting() { ethtool -l "$(netdev)" | awk '/^Combined:/ { print $2 }' | sed -n "$1p"; }

# All pairs are in use from the start if there are as many CPUs, which there are not without one.
channels() {
	local n
	[ "$(setting 1)" = $PAIRS ] || die "not $PAIRS pairs but $(setting 1)"
	for n in 1 2 3 $PAIRS; do
		[ "$(setting 2)" = $n ] || ethtool -L "$(netdev)" combined $n
		[ "$(setting 2)" = $n ]
		wait_for "an answer to a ping" pings
	done
	! ethtool -L "$(netdev)" combined 5 2>/dev/null || die "five of four pairs are in use"
}

# flows COUNT: as many connections at once, each of which sends and gets.
flows() {
	local i pids=()
	for ((i = 0; i < $1; i++)); do
		data 1 >"$TMP/in.$i"
		exchange TCP:$PEER_IP:7 "$TMP/in.$i" "$TMP/out.$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || die "a connection failed"; done
}

# What Linux sends on several queues is answered on the same ones.
spreads() {
	local pair before=() rx tx busy=0
	ethtool -L "$(netdev)" combined $PAIRS 2>/dev/null || true
	for ((pair = 0; pair < 2 * PAIRS; pair++)); do before[pair]=$(used $pair); done
	flows 8
	for ((pair = 0; pair < PAIRS; pair++)); do
		rx=$(($(used $((2 * pair))) - before[2 * pair]))
		tx=$(($(used $((2 * pair + 1))) - before[2 * pair + 1]))
		echo "pair $pair: $rx received, $tx sent"
		if [ $tx -gt 20 ]; then
			[ $rx -gt 20 ] || die "what came by pair $pair is not answered there"
			busy=$((busy + 1))
		fi
	done
	[ $busy -ge 2 ] || die "all went by $busy pair"
}

# A single flow stays where it is.
one_flow() {
	local pair before=() got busy=0
	for ((pair = 0; pair < PAIRS; pair++)); do before[pair]=$(used $((2 * pair))); done
	taskset 1 sh -c "socat -u -b 65536 TCP:$PEER_IP:19,readbytes=$((MIB << 20)) - >/dev/null"
	for ((pair = 0; pair < PAIRS; pair++)); do
		got=$(($(used $((2 * pair))) - before[pair]))
		echo "pair $pair: $got"
		[ $got -lt 50 ] || busy=$((busy + 1))
	done
	[ $busy -eq 1 ] || die "one flow came by $busy pairs"
}

# While traffic goes on, pairs come and go.
switching() {
	local i n
	flows 4 &
	for ((i = 0; i < 12; i++)); do
		n=$((1 + i % PAIRS))
		[ "$(setting 2)" = $n ] || ethtool -L "$(netdev)" combined $n
	done
	wait $!
}

# Nothing of this may be refused, and the peer has to know of it.
modes() {
	local dev i before
	dev=$(netdev)
	before=$(counter "net control" commands)
	ip link set "$dev" promisc on
	ip link set "$dev" promisc off
	ip link set "$dev" allmulticast on
	ip link set "$dev" allmulticast off
	for i in 1 2 3; do ip maddr add 01:00:5e:00:01:0$i dev "$dev"; done
	for i in 1 2 3; do ip maddr del 01:00:5e:00:01:0$i dev "$dev"; done
	modprobe 8021q
	ip link add link "$dev" name vlan7 type vlan id 7
	ip link set vlan7 up
	ip link del vlan7
	ethtool -K "$dev" rx-gro-hw off
	pings_answered 3 -i 0.01
	bytes_of 1000000 TCP:$PEER_IP:19 >/dev/null
	ethtool -K "$dev" rx-gro-hw on
	bytes_of 1000000 TCP:$PEER_IP:19 >/dev/null
	wait_for "the commands" eval '[ "$(counter "net control" commands)" -ge '$((before + 8))' ]'
	[ "$(counter "net control" refused)" -eq 0 ] || die "the peer has refused commands"
	expect_no_log "Failed to|Fail to"
}

# Another address, of which the peer is told: what it sends to the old one does not get through.
address() {
	local dev
	dev=$(netdev)
	ip link set "$dev" address 02:00:00:00:77:77
	wait_for "an answer to a ping" pings
	[ "$(ethtool -P "$dev" | awk '{ print $3 }')" != 02:00:00:00:77:77 ]
	ip link set "$dev" address 02:00:00:00:00:02
	wait_for "an answer to a ping" pings
}

carrier() { [ "$(cat "/sys/class/net/$(netdev)/carrier")" = "$1" ]; }

link_goes() {
	control link down
	wait_for "no carrier" carrier 0
	ip -br link show dev "$(netdev)" | grep -q NO-CARRIER
	! pings || die "there is an answer although the link is down"
	control link up
	wait_for "a carrier" carrier 1
	wait_for "an answer to a ping" pings
}

# Asked to, Linux sends a gratuitous ARP, and says to the peer that it has.
announces() {
	local before
	before=$(counter "net control" commands)
	control announce
	wait_for "an acknowledgement" eval '[ "$(counter "net control" commands)" -gt '"$before"' ]'
	[ "$(counter "net control" refused)" -eq 0 ]
	control announce
	wait_for "another one" eval '[ "$(counter "net control" commands)" -gt '$((before + 1))' ]'
}

largest() {
	local dev
	dev=$(netdev)
	[ "$(cat "/sys/class/net/$dev/mtu")" = 65535 ] || die "the mtu is $(cat "/sys/class/net/$dev/mtu")"
	pings_answered 5 -i 0.01 -M "do" -s 65507
	flows 2
}

# Datagrams that Linux leaves to the peer to cut.
datagrams() {
	local dev before trains
	dev=$(netdev)
	ethtool -k "$dev" | grep -x 'tx-udp-segmentation: on'
	before=$(counter "udp discard" received)
	trains=$(counter "net control" trains)
	head -c 15500 /dev/zero | socat -u -b 20000 - UDP:$PEER_IP:9,setsockopt=17:103:i1000
	wait_for "sixteen datagrams" eval '[ "$(counter "udp discard" received)" -eq '$((before + 16))' ]'
	[ "$(counter "net control" trains)" -eq $((trains + 1)) ] || die "Linux has cut them itself"
	[ "$(counter "net drops" header)" -eq 0 ]
	chargen_data 15500 >"$TMP/datagrams"
	# (Each of the sixteen counts as the page that it comes in, of which there may be 16 KiB.)
	socat -t 3 -b 20000 - UDP:$PEER_IP:7,rcvbuf=212992,setsockopt=17:103:i1000,readbytes=15500 <"$TMP/datagrams" >"$TMP/got" || true
	cmp "$TMP/datagrams" "$TMP/got"
}

reports() {
	local dev
	dev=$(netdev)
	[ "$(setting 2)" = $PAIRS ] || ethtool -L "$dev" combined $PAIRS
	ethtool "$dev" | grep -E 'Speed: 10000Mb/s|Duplex: Full'
	[ "$(ethtool "$dev" | grep -cE 'Speed: 10000Mb/s|Duplex: Full')" -eq 2 ]
	ethtool -S "$dev" | grep -E 'rx3_kicks|tx3_kicks'
	[ "$(ethtool -S "$dev" | grep -cE 'rx3_kicks|tx3_kicks')" -eq 2 ]
}

# The driver comes and goes with several pairs as with one.
again() {
	rmmod virtio_net
	modprobe virtio_net
	usable
	[ "$(setting 1)" = $PAIRS ]
	unload
	load
	usable
}

# With one pair a control queue is there if it is asked for, and not otherwise.
one_pair() {
	begin net-control=yes
	control announce
	wait_for "an acknowledgement" eval '[ "$(counter "net control" commands)" -gt 0 ]'
	[ "$(setting 1)" = 1 ]
	stop_peer
	begin
	[ -z "$(used 2)" ] || die "there is a third queue"
}

add "several pairs come up" 120 several
add "ethtool -L" 60 channels
add "several flows take several pairs, each its own both ways" 120 spreads
add "one flow stays on one" 120 one_flow
add "pairs come and go under traffic" 120 switching
add "receive modes, addresses, VLANs and offloads are taken" 60 modes
add "another address" 60 address
add "the link goes down and up" 60 link_goes
add "announcements" 60 announces
add "packets of 65535 bytes" 60 largest
add "UDP datagrams are cut by the peer" 60 datagrams
add "speed and statistics" 60 reports
add "the driver comes and goes" 60 again
add "one pair with a control queue, and without" 120 one_pair
run_tests
