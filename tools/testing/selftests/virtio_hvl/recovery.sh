#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer crashes, or comes back as another one: its devices go and come by themselves.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# A firmware that dies of a data abort at each boot, when its devices have been in use for three
# seconds: enough to begin with traffic.
CRASHES="devices=net,vsock fault=crash"

newer_than() { link_is up && [ "$(epoch)" != "$1" ]; }
both() { bound 1 && bound 19; }

# start_crashing: the link is up for the first time.
start_crashing() {
	local firmware
	firmware=$(patch_firmware crash "$CRASHES")
	fresh
	load
	recovery enabled
	start_peer "$firmware"
	wait_for "the link to be up" link_is up
}

# After this the peer is off, and remoteproc restarts what crashes, as it does by default.
end_crashing() {
	recovery disabled
	wait_for "the last crash" peer_is crashed
	stop_peer
	recovery enabled
}

crash_and_back() {
	local first
	start_crashing
	first=$(epoch)
	expect_log 'virtio_hvl .*: the peer failed, removing its 2 devices'
	expect_log 'crash detected in psci-cpu'
	wait_for "the next boot of the peer" newer_than "$first"
	wait_for "its devices" both
	end_crashing
}

crash_says_why() {
	start_crashing
	recovery disabled
	wait_for "the crash" peer_is crashed
	trace | grep 'FATAL: .* elr 0x' || die "the trace does not say where it died: $(trace)"
	wait_for "the devices to go" no_devices
	[ "$(debug status | sed -n 's/^peer-state: //p')" = failed ]
	stop_peer
	recovery enabled
}

crash_under_traffic() {
	start_crashing
	net_up
	# They end with the connection, whatever their status is then.
	socat -u -b 65536 OPEN:/dev/zero TCP:$PEER_IP:9 &
	socat -u -b 65536 VSOCK-CONNECT:$PEER_CID:19 OPEN:/dev/null &
	expect_log 'the peer failed, removing its 2 devices'
	wait_for "the streams over vsock to end" eval '! pgrep -f VSOCK-CONNECT'
	end_crashing
	kill %1 2>/dev/null || true
	wait 2>/dev/null || true
	up
}

rmmod_of_a_crashed_peer() {
	start_crashing
	recovery disabled
	wait_for "the crash" peer_is crashed
	unload
	nothing_left
	stop_peer
	recovery enabled
}

# As after a power failure of the peer's core: what it wrote last says that it is ready.
vanished() {
	local firmware
	firmware=$(patch_firmware vanish "devices=net,vsock fault=vanish")
	fresh
	load
	recovery disabled
	start_peer "$firmware"
	wait_for "the link to be up" link_is up
	expect_log "the peer's heartbeat stopped, removing its 2 devices"
	wait_for "the core to be off" peer_is crashed
	unload
	load
	expect_log "$LINK: link test failed: the peer says that it is ready but does not answer"
	wait_for "the link to be refused" link_is refused
	[ "$(debug status | sed -n 's/^peer-state: //p')" = ready ]
	no_devices
	stop_peer
	recovery enabled
	start_peer
	usable
}

another_peer() {
	local firmware first
	up
	first=$(epoch)
	stop_peer
	wait_for "the devices to go" no_devices
	firmware=$(patch_firmware other "devices=vsock,net ip=10.77.0.1/24")
	start_peer "$firmware"
	wait_for "the next boot of the peer" newer_than "$first"
	wait_for "its devices" both
	# The table of this one has another order.
	debug devices | grep -E '\.0: type 19 ' || die "device 0 is not vsock: $(debug devices)"
	stop_peer
	firmware=$(patch_firmware less "devices=vsock")
	start_peer "$firmware"
	wait_for "vsock to be bound" bound 19
	if device_of 1; then die "there is still a network device"; fi
	stop_peer
}

add "a peer that crashes comes back" 90 crash_and_back
add "it says why in its trace" 60 crash_says_why
add "a crash under traffic" 90 crash_under_traffic
add "driver removed after a crash" 60 rmmod_of_a_crashed_peer
add "a peer that vanishes, and its words that stay" 120 vanished
add "another peer in its place" 90 another_peer
run_tests
