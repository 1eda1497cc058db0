#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Several links of one Linux at once, each with a core, a peer and a life of its own: what becomes of one is
# nothing to the others. The machine has those of dts/qemu-virt-links.dtso beside its usual one.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

LINKS="1 2 3 4"
# What each firmware is told beside its devices.
OWN=([1]="" [2]="region=0x7c000000 size=0x1000000 irq-out=136 irq-in=137 irq-stop=138 uart=none"
	[3]="region=0x73000000 size=0x1000000 irq-out=144 irq-in=145 irq-stop=146 uart=none"
	[4]="region=0x70000000 size=0x1000000 irq-out=152 irq-in=153 irq-stop=154 uart=none")
FIRMWARES=([1]=$FIRMWARE [2]=hvl-peer-76000000.elf [3]=hvl-peer-74000000.elf [4]=hvl-peer-71000000.elf)
BUSY=$TMP/busy

# link N: what lib.sh has is about that one from here on.
link() {
	local number=-$1
	[ "$1" -gt 1 ] || number=
	LINK=8000210.virtio-hvl$number
	RPROC=8000210.remoteproc$number
	DEVICES="*/$LINK/*"
	FIRMWARE=${FIRMWARES[$1]}
	PEER_IP=10.77.$1.1
	OUR_IP=10.77.$1.2
	TMP=${BUSY%/busy}/link$1
	mkdir -p "$TMP"
}

# of N COMMAND...: for that link only.
of() {
	(
		link "$1"
		shift
		"$@"
	)
}

all_of() {
	local n
	for n in $LINKS; do of "$n" "$@"; done
}

# start N [WORDS]: a peer with a network.
start() {
	local firmware
	[ "$1" -eq 1 ] || [ -e "/sys/bus/platform/devices/8000210.virtio-hvl-$1" ] || skip "boot with qemu-virt-links.dtbo"
	firmware=$(of "$1" patch_firmware "link$1" "devices=net ip=10.77.$1.1/24 ${OWN[$1]} ${2:-}")
	of "$1" start_peer "$firmware"
}

works() {
	wait_for "$LINK to be up" link_is up
	wait_for "virtio_net to be bound" bound 1
	net_up
	# Nothing is sent that is not asked for.
	echo 1 >"/proc/sys/net/ipv6/conf/$(netdev)/disable_ipv6"
	wait_for "an answer to a ping" pings
}

all_up() {
	local n
	unload
	all_of stop_peer
	modprobe virtio_net
	for n in $LINKS; do start "$n"; done
	load
	all_of works
	[ "$(virtio_devices | wc -l)" -eq 4 ] || die "not four devices: $(virtio_devices)"
}

# carry: pings and data until there is no BUSY any more. Nothing may be lost.
carry() {
	local rounds=0 dev index before
	dev=$(netdev)
	index=$(cat "/sys/class/net/$dev/ifindex")
	before=$(epoch)
	while :; do
		pings_answered 40 -i 0.01
		echoed TCP:$PEER_IP:7 1
		rounds=$((rounds + 1))
		[ -e "$BUSY" ] || break
	done
	[ "$(netdev) $(cat "/sys/class/net/$dev/ifindex") $(epoch)" = "$dev $index $before" ] || die "it is another link"
	echo "$LINK: $rounds rounds"
}

# while_busy LIST COMMAND...: it runs while those links carry traffic.
while_busy() {
	local list=$1 n pids=()
	shift
	: >"$BUSY"
	for n in $list; do
		of "$n" carry &
		pids+=($!)
	done
	"$@"
	rm "$BUSY"
	for n in "${pids[@]}"; do wait "$n" || die "a link that was to go on has not"; done
}

traffic() { while_busy "$LINKS" nap 2; }

newer_than() { link_is up && [ "$(epoch)" != "$1" ]; }

# Its peer dies of a data abort three seconds after each boot; it comes back, and dies again.
crash_twice() {
	local first
	first=$(epoch)
	expect_log "$LINK: the peer failed, removing its 1 devices"
	wait_for "the next boot of the peer" newer_than "$first"
	recovery disabled
	wait_for "the next crash" peer_is crashed
	stop_peer
	recovery enabled
}

crashes() {
	of 1 stop_peer
	start 1 fault=crash
	of 1 wait_for "the link to be up" link_is up
	while_busy "2 3 4" of 1 crash_twice
	start 1
	of 1 works
}

restart() {
	local i
	for i in 1 2; do
		of 2 stop_peer
		of 2 wait_for "the devices to go" no_devices
		start 2
		of 2 works
	done
}

restarts() { while_busy "1 3 4" restart; }

# Nobody answers Linux: the deadline passes, five seconds of it.
silent() {
	of 3 stop_peer
	start 3 fault=noreply
	expect_log "8000210.virtio-hvl-3: device 0 .* failed"
	of 3 stop_peer
	start 3
	of 3 works
}

is_silent() { while_busy "1 2 4" silent; }

unbound() {
	local driver=/sys/bus/platform/drivers/virtio_hvl
	echo 8000210.virtio-hvl-2 >$driver/unbind
	of 2 no_devices
	[ ! -e "$DEBUGFS/8000210.virtio-hvl-2" ] || die "debugfs files are left"
	echo 8000210.virtio-hvl-2 >$driver/bind
	of 2 works
}

unbinds() { while_busy "1 3 4" unbound; }

# came: how often either side rang.
came() { debug stats | awk '/^(interrupts|doorbells):/ { sum += $2 } END { print sum }'; }

idle() {
	local before=() n from to
	for n in 2 3 4; do before[n]=$(of "$n" came); done
	read -r from _ </proc/uptime
	while_busy 1 nap 3
	read -r to _ </proc/uptime
	for n in 2 3 4; do
		n=$(($(of "$n" came) - before[n]))
		say "an idle link: $n doorbells and interrupts in $((${to/./} - ${from/./}))0 ms, beside one that is busy"
		[ $n -eq 0 ] || die "an idle link was rung $n times"
	done
}

flood() { exec socat -u -b 65536 OPEN:/dev/zero TCP:$PEER_IP:9 2>/dev/null; }

# With traffic on all.
removed() {
	local n pids=()
	for n in $LINKS; do
		of "$n" flood &
		pids+=($!)
	done
	nap 0.5
	unload
	nothing_left
	kill "${pids[@]}" 2>/dev/null || true
	wait || true
	load
	all_of works
}

add "four links come up" 120 all_up
add "all of them carry traffic at once" 60 traffic
add "one peer crashes and comes back, the others lose nothing" 120 crashes
add "one is stopped and started" 120 restarts
add "one does not answer" 120 is_silent
add "one is unbound from its driver" 90 unbinds
add "idle links are not rung" 60 idle
add "the module goes with traffic on all" 120 removed
run_tests
