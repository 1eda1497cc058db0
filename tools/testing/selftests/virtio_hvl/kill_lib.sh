# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the tests in which one of both sides dies at the n-th step of the peer's life (samples/peer/machine/src/mortal.rs).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Between two n: all of them, but in the short tier.
# shellcheck disable=SC2034 # for the scripts
STRIDE=${HVL_STRIDE:-$(by_tier 97 1)}
# Steps that there are at least: less would be no traffic.
export LEAST=100

died() { trace | grep -q 'the last step'; }

# trace_tells WORDS: whether the peer has said that. (By the shell alone: it is asked again and again, and has to be
# quick. TRACE is the file.)
trace_tells() { [[ $(<"$TRACE") == *"$1"* ]]; } 2>/dev/null

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
		"interrupts $(grep -c virtio-hvl /proc/interrupts), threads $(pgrep -c virtio-hvl)," \
		"parents $(find /sys/bus/faux/devices/ -name '*virtio-hvl*' | wc -l), claims $(grep -c virtio-hvl /proc/iomem)," \
		"the processor $(peer_state), its core $(<"/sys/devices/system/cpu/cpu$(sed 's/^psci-cpu//' "$(rproc)/name")/online")"
}

# serves [thoroughly]: all three devices do.
serves() {
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
}

# Another one in its place, and what is left of the one before.
replaced() {
	start_peer hvl-honest.elf
	serves "$@"
	stop_peer
	wait_for "the devices to go" no_devices
}
