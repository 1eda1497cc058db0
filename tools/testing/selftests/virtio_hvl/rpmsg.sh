#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Messages between processors under the kernel's own drivers: virtio_rpmsg_bus with its name service, the sample
# client, /dev/rpmsg* and /dev/ttyRPMSG*; and a peer that lies to them. Debian's kernel is configured without
# these, so they are built from its source: see tools/testing/rpmsg/build.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

MODULES=$HERE/rpmsg/$(uname -r)
# In the order in which they use each other.
DRIVERS=(rpmsg_ns rpmsg_char rpmsg_ctrl rpmsg_tty virtio_rpmsg_bus)
# What has been sent must have gone round so often.
MESSAGES=$(by_tier 300 20000)

drivers() {
	local name
	[ -e "$MODULES/virtio_rpmsg_bus.ko" ] || skip "no $MODULES: README.rst says where it comes from"
	for name in "${DRIVERS[@]}"; do
		[ -d "/sys/module/$name" ] || insmod "$MODULES/$name.ko"
	done
}
no_drivers() {
	local name
	for name in rpmsg_client_sample virtio_rpmsg_bus rpmsg_tty rpmsg_ctrl rpmsg_char rpmsg_ns; do
		if [ -d "/sys/module/$name" ]; then rmmod $name; fi
	done
}
# sample [PARAMETER...]: the kernel's sample client.
sample() { insmod "$MODULES/rpmsg_client_sample.ko" "$@"; }
no_sample() { if [ -d /sys/module/rpmsg_client_sample ]; then rmmod rpmsg_client_sample; fi; }

# channel NAME [ADDRESS]: the directory of the channel of that name to that address of the peer's.
channel() { compgen -G "/sys/bus/rpmsg/devices/*.$1.*.$((${2:-0x401}))"; }
# raw ADDRESS: the device of the channel to that address, in DEV.
raw() {
	local dir
	dir=$(channel rpmsg-raw "$1") && DEV=$(compgen -G "$dir/rpmsg/rpmsg*") && DEV=/dev/${DEV##*/} && [ -c "$DEV" ]
}
sample_channel() { channel rpmsg-client-sample 0x400 >/dev/null; }
no_sample_channel() { ! sample_channel; }
no_channels() { ! compgen -G '/sys/bus/rpmsg/devices/*.rpmsg-raw.*' >/dev/null; }

# start [WORDS]: a peer with this command line, and the drivers.
start() {
	drivers
	no_sample
	fresh
	load
	start_peer "$(patch_firmware rpmsg "devices=vsock,rpmsg $1")"
	wait_for "the link to be up" link_is up
}
served() {
	start "${1-}"
	wait_for "virtio_rpmsg_bus to be bound" bound 7
	wait_for "a channel for the sample" sample_channel
	wait_for "a device for messages" raw 0x401
	wait_for "a device for wishes" raw 0x402
}
end() {
	in_time 60 rmmod virtio_hvl
	no_sample
	nothing_left
	no_channels
	stop_peer
}
vsock_works() {
	wait_for "vsock to be bound" bound 19
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
}
# The other device of the link is as it was, and the log is not flooded.
calm() {
	vsock_works
	[ "$(log_since | grep -c -e rpmsg -e virtio)" -lt "${1:-30}" ] || die "the log is flooded"
	end
}

found() {
	served
	expect_log "rpmsg host is online"
	expect_log "creating channel rpmsg-raw addr 0x401"
	[ "$(driver_of "$(device_of 7)")" = virtio_rpmsg_bus ]
	# Its buffers are Linux's own, and its callback is not the interrupt's.
	pgrep -x virtio-hvl-call >/dev/null
}

# A hundred messages, and as many answers.
hundred() {
	log_mark
	sample
	expect_log "incoming msg 100 .src: 0x400."
	expect_log "goodbye"
	no_sample
	[ "$(log_since | grep -c 'incoming msg')" -eq 100 ]
}

# says FILE: that message, and the one that comes back is it.
says() {
	dd if="$1" bs=512 count=1 status=none >&3 || return
	timeout "$PATIENCE" dd bs=512 count=1 status=none <&3 >"$TMP/got"
	cmp "$1" "$TMP/got"
}

echoes() {
	local size
	raw 0x401
	exec 3<>"$DEV"
	data 1 >"$TMP/data"
	for size in 1 15 16 17 255 256 257 495 496; do
		head -c $size "$TMP/data" >"$TMP/sent"
		says "$TMP/sent"
	done
	# One more than there is room for is refused by Linux.
	head -c 497 "$TMP/data" >"$TMP/sent"
	! dd if="$TMP/sent" bs=512 count=1 status=none 2>/dev/null >&3 || die "497 bytes are sent"
	exec 3>&-
}

# All that is sent comes back, in order, both ways at once: rings and buffers are used many times.
many() {
	raw 0x401
	exec 3<>"$DEV"
	seq 1000000 $((1000000 + MESSAGES - 1)) >"$TMP/sent"
	dd bs=8 count="$MESSAGES" status=none <&3 >"$TMP/got" &
	dd if="$TMP/sent" bs=8 status=none >&3
	wait $!
	exec 3>&-
	cmp "$TMP/sent" "$TMP/got"
}

terminal() {
	local line
	wait_for "a terminal" test -c /dev/ttyRPMSG0
	exec 3<>/dev/ttyRPMSG0
	stty -F /dev/ttyRPMSG0 raw -echo
	echo "hello, peer" >&3
	IFS= read -r -t "$PATIENCE" line <&3
	exec 3>&-
	[ "$line" = "hello, peer" ]
}

# wish WORD: what is answered to it.
wish() {
	raw 0x402
	exec 4<>"$DEV"
	echo "$1" >&4
	timeout "$PATIENCE" dd bs=512 count=1 status=none <&4
	exec 4>&-
}

# A channel that the peer takes away, with its driver at work, and brings back.
comes_and_goes() {
	local i
	sample count=1000000
	for i in 1 2; do
		[ "$(wish hide)" = ok ]
		wait_for "the channel to be gone" no_sample_channel
		[ "$(wish show)" = ok ]
		wait_for "the channel to be there again" sample_channel
	done
	no_sample
	expect_log "destroying channel rpmsg-client-sample addr 0x400"
	hundred
}

# The peer dies in the middle of it: who waits for a message gets an error, and the next peer has all channels.
another_peer() {
	local pid i
	for i in 1 $(by_tier '' '2 3 4 5 6 7 8 9'); do
		sample count=1000000
		raw 0x402
		dd if="$DEV" of=/dev/null bs=512 count=1 status=none 2>/dev/null &
		pid=$!
		sleep 0.$i
		stop_peer
		wait_for "the channels to be gone" no_channels
		if wait $pid; then die "a message has come"; fi
		no_sample
		start_peer hvl-rpmsg.elf
		wait_for "a device for messages" raw 0x401
		echoes
	done
}

# Channels that are open, and a driver in the middle of it, when the module goes.
unloaded() {
	raw 0x401
	exec 3<>"$DEV"
	sample count=1000000
	end
	! echo hello 2>/dev/null >&3 || die "a message is sent to nobody"
	exec 3>&-
}

# The driver is the first to go, and comes back.
without_driver() {
	sample count=1000000
	no_sample
	in_time 60 rmmod virtio_rpmsg_bus
	no_channels
	vsock_works
	drivers
	wait_for "a device for messages" raw 0x401
	echoes
}

# The peer reads and writes the driver's buffers, which are looked at by nobody before.
direct() {
	[ -e /proc/device-tree/__symbols__/hvl_test_half ] || skip "the machine was booted without test-regions.dtbo"
	drivers
	no_sample
	fresh
	apply_overlay direct
	load
	start_peer "$(patch_firmware rpmsg "devices=vsock,rpmsg direct=0x40000000+0x40000000")"
	wait_for "a device for messages" raw 0x401
	debug status | grep '^mode: *direct$'
	echoes
	hundred
	end
	remove_overlays
}

# caught FAULT LINE: the sample has messages sent until that is the end of the device, of no other one, and is said once.
caught() {
	start "fault=$1"
	sample
	expect_log "$LINK: device 1 .virtio type 7. failed: queue 0: $2"
	no_sample
	calm "${3-}"
}

# Messages from nobody to nobody: the driver says so, now and then.
nobody() {
	served "fault=rpmsg-nobody"
	sample
	expect_log "msg received with no recipient"
	expect_no_log "failed"
	no_sample
	calm
}

# Nothing is taken any more, while messages come all the time: the callback waits for room. That keeps nobody for longer
# than it waits for one message.
storm() {
	served "fault=rpmsg-storm"
	sample count=1000000
	sleep 1
	calm 1000000
}

all_done() {
	served
	hundred
	end
}

add "the driver is bound, and has a device of each channel" 60 found
add "the kernel's sample: 100 messages" 60 hundred
add "messages of all sizes come back" 60 echoes
add "$MESSAGES messages, both ways at once" 300 many
add "a terminal" 60 terminal
add "a channel that goes and comes" 60 comes_and_goes
add "another peer, in the middle of it" 300 another_peer
add "the driver goes, and comes again" 60 without_driver
add "the module goes, with channels in use" 60 unloaded
add "direct mode" 60 direct
add "a length beyond the buffer" 60 caught rpmsg-length "a message has 65535 bytes by its header: must have 12 at most"
add "another name, all the time" 60 caught rpmsg-flood "more than 64 channels are announced at a time" 1000
if [ -n "${HVL_LONG:-}" ]; then
	add "a name without an end" 60 caught rpmsg-name "the name of a channel does not end"
	add "less than a header" 60 caught rpmsg-short "used length 14 of id [0-9]+ is below the 16 bytes"
	add "a name that comes and goes all the time" 60 caught rpmsg-churn "more than 128 names of channels" 1000
	add "messages to nobody" 60 nobody
	add "messages that are not taken, and others that come all the time" 120 storm
	add "an honest peer afterwards" 60 all_done
fi
add "the drivers go" 60 no_drivers
run_tests
