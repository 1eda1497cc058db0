#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer dies at its n-th step (samples/peer/machine/src/mortal.rs), of a fault, with its core, by doing nothing any more,
# or by booting again: for each n from its boot through the probe of its drivers and traffic, until it lives to
# the end. Each time another peer in its place works, and in the end nothing is left.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Between two n: all of them, but in the short tier.
STRIDE=${HVL_STRIDE:-$(by_tier 97 1)}
# The steps of one that boots again without a word are counted on, so it dies once.
WAYS=(crash off hang restart)
# Steps that there are at least: less would be no traffic.
LEAST=100

died() { trace | grep -q 'the last step'; }

# Some of all that can be on its way. It may fail at any time.
traffic() {
	local dev end=$((SECONDS + 3)) jobs=() job
	while [ $SECONDS -lt $end ] && ! died; do
		dev=$(netdev) || dev=
		[ -n "$dev" ] && printf '%s\n' "addr add $OUR_IP/24 dev $dev" "link set $dev up" | ip -force -batch - 2>/dev/null &&
			break
		nap 0.05
	done
	timeout 3 ping -q -c 20 -i 0.01 -W 1 $PEER_IP >/dev/null 2>&1 &
	jobs+=($!)
	timeout 3 socat -u -b 65536 OPEN:/dev/zero,readbytes=1000000 TCP:$PEER_IP:9,connect-timeout=2 2>/dev/null &
	jobs+=($!)
	timeout 3 sh -c "echo hello | socat -t 1 - VSOCK-CONNECT:$PEER_CID:7" >/dev/null 2>&1 &
	jobs+=($!)
	if [ -b /dev/vda ]; then
		timeout 3 dd if=/dev/vda of=/dev/null bs=16k count=4 iflag=direct 2>/dev/null &
		jobs+=($!)
		timeout 3 dd if=/dev/zero of=/dev/vda bs=4k count=8 oflag=direct 2>/dev/null &
		jobs+=($!)
	fi
	for job in "${jobs[@]}"; do wait "$job" || true; done
}

# The books: what is to be the same after each death as it was before the first.
books() {
	local users
	users=$(sed -n 's/^virtio_hvl [0-9]* \([0-9]*\) .*/\1/p' /proc/modules)
	echo "users ${users:-none}, links $(ls "$DEBUGFS"), devices $(virtio_devices | wc -l)," \
		"interrupts $(grep -c virtio-hvl /proc/interrupts)"
}

# dies_at STEP HOW
dies_at() {
	start_peer "$(patch_firmware mortal "devices=net,vsock,blk spin=0 die=$1,$2")"
	traffic
	if ! died; then return 1; fi
	case $2 in
	crash) wait_for "the crash to be seen" peer_is crashed ;;
	restart) wait_for "the link to be up again" link_is up ;;
	esac
	stop_peer
}

# Another one in its place, and what is left of the one before.
replaced() {
	start_peer hvl-honest.elf
	wait_for "the link to be up" link_is up
	wait_for "virtio_net to be bound" bound 1
	wait_for "vsock to be bound" bound 19
	wait_for "virtio_blk to be bound" bound 2
	if [ "${1:-}" ]; then
		net_up
		wait_for "an answer to a ping" pings
		[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ] || die "no echo"
		dd if=/dev/vda of=/dev/null bs=16k count=4 iflag=direct 2>/dev/null || die "no disk"
	fi
	stop_peer
	wait_for "the devices to go" no_devices
}

sweep() {
	local how=$1 step before after
	fresh
	modprobe virtio_blk
	patch_firmware honest "devices=net,vsock,blk spin=0" >/dev/null
	load
	recovery disabled
	replaced thoroughly
	before=$(books)
	for ((step = 1; ; step += STRIDE)); do
		dies_at "$step" "$how" || break
		if [ $((step / STRIDE % 4)) -eq 0 ]; then replaced thoroughly; else replaced; fi
		after=$(books)
		[ "$before" = "$after" ] || die "step $step, $how: the books do not balance: before: $before; after: $after"
		# The module goes, too, with the dead one's traces in it.
		if [ $((step / STRIDE % 8)) -eq 7 ]; then
			unload
			nothing_left
			load
		fi
	done
	[ "$step" -gt $LEAST ] || die "it lived to the end when it was to die at step $step: there was no traffic"
	say "$how: at each ${STRIDE}th step to the ${step}th, where it lived to the end"
	stop_peer
	unload
	nothing_left
	recovery enabled
}

for how in "${WAYS[@]}"; do
	add "the peer dies at each step: $how" "$(by_tier 300 3600)" sweep "$how"
done
run_tests
