#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that is alive and does not do its part: Linux waits for none of it without end.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# start_with WORDS: the driver, and a firmware with this command line.
start_with() {
	local firmware
	firmware=$(patch_firmware hostile "$1")
	fresh
	load
	start_peer "$firmware"
}

end() {
	in_time 60 rmmod virtio_hvl
	nothing_left
	stop_peer
}

# virtio_net spins for it, with the lock that every change of a network interface needs.
control_queue() {
	local dev
	start_with "devices=net,vsock fault=control"
	wait_for "virtio_net to be bound" bound 1
	wait_for "a network interface" has_netdev
	dev=$(netdev)
	in_time 60 ip link set "$dev" up
	expect_log 'device 0 \(virtio type 1\) failed: the peer does not serve queue 2'
	# The lock is free again, and the other device of the link is as it was.
	in_time 60 ip link set "$dev" down
	wait_for "vsock to be bound" bound 19
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	end
}

has_port() { ls -d "$(device_of 3)"/virtio-ports/vport* 2>/dev/null; }

# Of the terminals of this kind all but those with a device refuse to be opened.
write_console() {
	local tty
	for tty in /dev/hvc*; do
		if (: >"$tty") 2>/dev/null; then
			echo hello >"$tty"
			return
		fi
	done
	die "no terminal"
}

# virtio_console spins with interrupts off. With two CPUs one is the peer's, so that this one is
# Linux's last.
console() {
	start_with "devices=net,vsock fault=console,unserved"
	wait_for "virtio_console to be bound" bound 3
	wait_for "its port" has_port
	write_console
	expect_log 'device 0 \(virtio type 3\) failed: the peer does not serve queue 1'
	end
}

# Nothing is ever answered in the queues, and the driver has to be let go of all the same.
unserved() {
	local dev
	start_with "devices=net,vsock fault=unserved"
	wait_for "virtio_net to be bound" bound 1
	wait_for "vsock to be bound" bound 19
	wait_for "a network interface" has_netdev
	dev=$(netdev)
	ip addr add $OUR_IP/24 dev "$dev"
	ip link set "$dev" up
	if ping -q -c 2 -W 1 $PEER_IP >/dev/null; then die "somebody answers"; fi
	in_time 60 socat -u /dev/null VSOCK-CONNECT:$PEER_CID:9 2>/dev/null
	end
}

count() { debug stats | sed -n "s/^$1: //p"; }

attached_twice() { [ "$(count attachments)" -ge 2 ]; }

# Ten times a second by itself.
epochs() {
	local begin=$SECONDS attachments lines tens
	start_with "devices=net,vsock fault=epochs"
	wait_for "the peer to be attached to" attached_twice
	sleep 12
	debug stats
	attachments=$(count attachments)
	lines=$(log_since | grep -c "$LINK")
	# 32 in ten seconds, and a part of such a time is one, too.
	tens=$(((SECONDS - begin + 1) / 10 + 1))
	[ "$attachments" -le $((32 * tens + 6)) ] || die "the peer was followed each time"
	[ "$lines" -le $((130 * tens)) ] || die "$lines lines in the log"
	end
}

add "a control queue that is not served" 180 control_queue
# Before 7.3 virtio_console frees what it has freed when such a device goes.
no_console() {
	start_with "devices=net,vsock fault=console,unserved"
	expect_log "device 0 is skipped: its DeviceId is 0x3, must be other than a console"
	end
}
case $(uname -r) in
7.2.*) add "a console, which this kernel's driver does not bear" 60 no_console ;;
*) add "a console that takes nothing, on Linux's last CPU" 180 console ;;
esac
add "devices that take nothing" 180 unserved
add "a peer that boots all the time" 120 epochs
run_tests
