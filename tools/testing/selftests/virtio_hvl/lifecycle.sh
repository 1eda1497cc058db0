#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Peer and driver come and go in any order, with and without traffic.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

RELOADS=${HVL_RELOADS:-$(by_tier 6 24)}
RESTARTS=${HVL_RESTARTS:-$(by_tier 3 10)}

peer_first() {
	fresh
	start_peer
	load
	usable
}

peer_second() {
	fresh
	load
	wait_for "the link to wait" link_is waiting
	start_peer
	usable
}

# It waits in silence.
peer_long_after() {
	fresh
	load
	wait_for "the link to wait" link_is waiting
	log_mark
	sleep "$(by_tier 2 5)"
	link_is waiting
	no_devices
	expect_no_log 'virtio_hvl'
	start_peer
	usable
}

peer_stays_driver_goes() {
	up
	unload
	nothing_left
	[ "$(peer_state)" = running ]
	load
	usable
}

# start_traffic NUMBER: until it is broken off; each number another mixture. Linux may have
# only one core left: what tests it goes first.
start_traffic() {
	case $(($1 % 3)) in
	0)
		nice ping -q -f $PEER_IP &
		nice socat -u -b 65536 OPEN:/dev/zero TCP:$PEER_IP:9 &
		nice socat -u -b 65536 VSOCK-CONNECT:$PEER_CID:19 OPEN:/dev/null &
		;;
	1)
		nice socat -u -b 65536 TCP:$PEER_IP:19 OPEN:/dev/null &
		nice socat -u -b 65536 OPEN:/dev/zero VSOCK-CONNECT:$PEER_CID:9 &
		;;
	2)
		nice socat -b 65536 OPEN:/dev/zero!!OPEN:/dev/null TCP:$PEER_IP:7 &
		nice socat -b 65536 OPEN:/dev/zero!!OPEN:/dev/null VSOCK-CONNECT:$PEER_CID:7 &
		nice ping -q -f -s 1400 $PEER_IP &
		;;
	esac >/dev/null 2>&1
}

stop_traffic() {
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null || true
	wait 2>/dev/null || true
}

rx_packets() { cat "/sys/class/net/$(netdev)/statistics/rx_packets"; }

traffic_flows() {
	local before
	before=$(rx_packets)
	wait_for "packets to flow" eval "[ \$(rx_packets) -gt $((before + 20)) ]"
}

reload_idle() {
	local i
	up
	for ((i = 1; i <= RELOADS / 3; i++)); do
		unload
		nothing_left
		load
		wait_for "the link to be up, $i" link_is up
		wait_for "virtio_net to be bound, $i" bound 1
		wait_for "vsock to be bound, $i" bound 19
	done
	usable
}

reload_busy() {
	local i
	up
	for ((i = 1; i <= RELOADS; i++)); do
		start_traffic "$i"
		traffic_flows
		unload
		stop_traffic
		nothing_left
		load
		wait_for "the link to be up, $i" link_is up
		net_up
	done
	usable
}

restart_peer() {
	local i last now
	up
	last=$(epoch)
	for ((i = 1; i <= RESTARTS; i++)); do
		stop_peer
		wait_for "the devices to go, $i" no_devices
		start_peer
		wait_for "the link to be up, $i" link_is up
		net_up
		wait_for "an answer to a ping, $i" pings
		now=$(epoch)
		[ "$now" != "$last" ] || die "the epoch is still $now"
		last=$now
	done
	usable
}

restart_peer_busy() {
	local i
	up
	for ((i = 1; i <= $(by_tier 3 6); i++)); do
		start_traffic "$i"
		traffic_flows
		stop_peer
		wait_for "the devices to go, $i" no_devices
		stop_traffic
		start_peer
		wait_for "the link to be up, $i" link_is up
		net_up
		wait_for "an answer to a ping, $i" pings
	done
	usable
}

rmmod_peer_stopped() {
	up
	stop_peer
	unload
	nothing_left
}

# unload_within DEADLINES: those that the driver gives a peer, and a second for all else. (By the
# clock, which goes in steps of a second: a slow machine takes longer for all else.)
unload_within() {
	local begin ms
	ms=$(debug status | sed -n 's/^timeout-ms: *//p')
	clock
	begin=$NOW
	unload
	clock
	echo "rmmod took $((NOW - begin)) ms, a deadline has $ms ms"
	[ $((NOW - begin)) -le $((($1 * ms) + 2200)) ] || die "rmmod took more than $1 deadlines"
}

# CPU time of the thread that puts the link away, while something else goes on: in CPU_MS. (USER_HZ is 100 here.)
cpu_of_link_while() {
	local pid stat words ticks='' job
	pid=$(grep -lx virtio-hvl /proc/[0-9]*/comm)
	pid=${pid%/comm}
	"$@" &
	job=$!
	while kill -0 $job && read -r stat <"$pid/stat"; do
		read -ra words <<<"${stat##*) }"
		ticks=$((words[11] + words[12]))
		sleep 0.05
	done 2>/dev/null
	wait $job || die "failed: $*"
	[ "$ticks" ] || die "it was gone at once: nothing was measured"
	CPU_MS=$((ticks * 10))
}

NO_ANSWER='failed: the peer did not answer a transaction in [0-9]+ ms'

# The drivers are in the middle of their probes.
rmmod_no_answer() {
	local firmware begin CPU_MS
	firmware=$(patch_firmware noreply "devices=net,vsock fault=noreply")
	fresh
	start_peer "$firmware"
	load
	expect_log "$LINK: peer attached"
	clock
	begin=$NOW
	cpu_of_link_while unload_within 4
	clock
	echo "the link's thread computed for $CPU_MS ms of $((NOW - begin))"
	[ $((2 * CPU_MS)) -lt $((NOW - begin)) ] || die "it does not sleep while it waits"
	expect_log "$LINK: device 0 .* $NO_ANSWER"
	nothing_left
	stop_peer
}

HEARTBEAT="the peer's heartbeat stopped"
# The link is up for all that the driver knows, and both drivers are through with their probes.
in_use() { link_is up && bound 1 && bound 19 && [ "$(debug devices | grep -c ' status 0xf ring-features [a-z,-]* vectors [a-z]* set-up-us [0-9]*$')" -eq 2 ]; }

# Both devices work, then the core is off, and the driver does not know. It will by the missing
# heartbeat, so that there is time for one rmmod; where it was too late, or where the peer was gone
# before the devices were in use, try again.
rmmod_peer_dead() {
	local firmware i removed=
	firmware=$(patch_firmware vanish "devices=net,vsock fault=vanish")
	for i in 1 2 3 4 5 6 7 8; do
		fresh
		load
		recovery disabled
		log_mark
		start_peer "$firmware"
		wait_for "the core to be off" peer_is crashed
		if in_use && ! log_has "$LINK: $HEARTBEAT"; then
			unload_within 4
			nothing_left
			removed=1
			break
		fi
		echo "attempt $i: too late"
		stop_peer
	done
	[ "$removed" ] || die "the devices were never in use when the peer was gone"
	# What it had to say to the devices met with silence.
	log_has "$LINK: (device [01] .* $NO_ANSWER|$HEARTBEAT)"
	stop_peer
	recovery enabled
	up
}

driver_unbound() {
	up
	echo "$LINK" >/sys/bus/platform/drivers/virtio_hvl/unbind
	no_devices
	echo "$LINK" >/sys/bus/platform/drivers/virtio_hvl/bind
	usable
}

# The core comes back to Linux only when the peer has stopped.
core_given_back() {
	local cpu
	cpu=$(sed 's/^psci-//' "$(rproc)/name")
	up
	[ "$(cat "/sys/devices/system/cpu/$cpu/online")" = 0 ]
	if echo 1 >"/sys/devices/system/cpu/$cpu/online" 2>/dev/null; then
		die "Linux took the core while the peer was running"
	fi
	wait_for "an answer to a ping" pings
	unload
	stop_peer
	[ "$(cat "/sys/devices/system/cpu/$cpu/online")" = 1 ]
}

add "peer started before the driver" 60 peer_first
add "peer started after the driver" 60 peer_second
add "peer started long after the driver" 60 peer_long_after
add "driver removed and loaded while the peer runs" 60 peer_stays_driver_goes
add "driver unbound and bound" 60 driver_unbound
add "driver removed and loaded $((RELOADS / 3)) times" 180 reload_idle
add "driver removed and loaded $RELOADS times under traffic" 400 reload_busy
add "peer stopped and started $RESTARTS times" 180 restart_peer
add "peer stopped and started under traffic" 120 restart_peer_busy
add "driver removed after the peer has stopped" 60 rmmod_peer_stopped
add "driver removed with a peer that does not answer" 90 rmmod_no_answer
add "driver removed with devices in use and a peer that is dead" 240 rmmod_peer_dead
add "the core is the peer's until it stops" 60 core_given_back
run_tests
