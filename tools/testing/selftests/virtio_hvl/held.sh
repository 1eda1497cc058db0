#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What user space holds open, or is inside of, while devices, drivers and modules go: each is
# refused while it lasts, or goes without harm.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

DRIVER=/sys/bus/platform/drivers/virtio_hvl
RPROC_DEBUG=/sys/kernel/debug/remoteproc

# in_use MODULE: it cannot be removed.
in_use() {
	local text
	if text=$(rmmod "$1" 2>&1); then die "$1 was removed while a file was open"; fi
	grep -q 'in use' <<<"$text" || die "should say that it is in use: $text"
}

# refuses COMMAND...: ends by itself, with an error.
refuses() {
	local status=0
	timeout -s KILL 60 "$@" >/dev/null 2>&1 || status=$?
	[ $status -ne 137 ] || die "no end: $*"
	[ $status -ne 0 ] || die "should fail: $*"
}

debug_files() { (cd "$DEBUGFS/$LINK" && ls); }

# Before the module had a hand on its files, closing one after rmmod was an oops.
debugfs_over_rmmod() {
	local file
	up
	for file in $(debug_files); do
		echo "$file"
		exec 5<"$DEBUGFS/$LINK/$file"
		in_use virtio_hvl
		# It works as before.
		grep -q . <&5
		usable
		exec 5<&-
	done
	unload
	nothing_left
}

# The file goes while it is open; the module cannot before it is closed.
debugfs_over_unbind() {
	up
	exec 5<"$DEBUGFS/$LINK/status" 6<"$DEBUGFS/$LINK/devices"
	grep -q 'state: up' <&5
	echo "$LINK" >$DRIVER/unbind
	no_devices
	[ ! -e "$DEBUGFS/$LINK" ] || die "the files are left"
	refuses cat <&6
	in_use virtio_hvl
	exec 5<&- 6<&-
	unload
	nothing_left
	load
	usable
}

# A reader is inside of the module, not just of the file.
debugfs_busy() {
	local i readers=()
	up
	for i in status devices stats last-transaction doorbell_rtt; do
		while :; do cat "$DEBUGFS/$LINK/$i" >/dev/null 2>&1 || true; done &
		readers+=($!)
	done
	for ((i = 0; i < $(by_tier 5 20); i++)); do
		echo "$LINK" >$DRIVER/unbind
		no_devices
		echo "$LINK" >$DRIVER/bind
		wait_for "the link to be up, $i" link_is up
	done
	# Between two readings it can go.
	wait_for "the module to go" eval 'rmmod virtio_hvl 2>/dev/null || ! loaded'
	kill "${readers[@]}"
	wait "${readers[@]}" 2>/dev/null || true
	nothing_left
	load
	usable
}

directory_over_rmmod() {
	up
	(
		cd "$DEBUGFS/$LINK"
		unload
		nothing_left
	)
	load
	usable
}

# The kernel's own files about what is ours: they are told that it went.
sysfs_over_rmmod() {
	local virtio
	up
	virtio=$(device_of 1)
	exec 5<"$virtio/status" 6</sys/module/virtio_hvl/parameters/timeout_ms 7<"$virtio/uevent"
	unload
	nothing_left
	refuses cat <&5
	refuses cat <&6
	refuses cat <&7
	exec 5<&- 6<&- 7<&-
	load
	usable
}

# As a socket is left by whoever waits for an answer.
sockets_over_rmmod() {
	local dev socats=()
	up
	dev=$(netdev)
	socat VSOCK-CONNECT:$PEER_CID:7 PIPE &
	socats+=($!)
	socat TCP:$PEER_IP:7 PIPE &
	socats+=($!)
	socat -u "INTERFACE:$dev" /dev/null &
	socats+=($!)
	wait_for "the connections" eval "ss -Ht state established dst $PEER_IP:7 | grep -q . &&
		ss -H --vsock state established | grep -q ':7\\b' && ss -H --packet | grep -q '$dev'"
	unload
	nothing_left
	kill "${socats[@]}" 2>/dev/null || true
	wait "${socats[@]}" 2>/dev/null || true
	load
	usable
}

remoteproc_over_rmmod() {
	local dir debug
	up
	unload
	dir=$(rproc)
	debug=$RPROC_DEBUG/$(basename "$dir")
	exec 5<"$debug/trace0" 6<"$debug/resource_table" 7<"$debug/carveout_memories" 8<"$debug/recovery"
	exec 9<"$dir/state"
	grep -q . <&5
	stop_peer
	# What the firmware brought along has gone with it.
	refuses cat <&5
	unload_rproc
	[ ! -d /sys/module/psci_rproc ] || die "the module is still there"
	refuses cat <&6
	refuses cat <&7
	refuses cat <&8
	refuses cat <&9
	exec 5<&- 6<&- 7<&- 8<&- 9<&-
	up
}

# With the peer running: who reads its log does not keep it from being stopped.
running_remoteproc_over_rmmod() {
	local debug
	up
	unload
	debug=$RPROC_DEBUG/$(basename "$(rproc)")
	while cat "$debug/trace0" >/dev/null 2>&1; do :; done &
	unload_rproc
	[ ! -d /sys/module/psci_rproc ] || die "the module is still there"
	wait $!
	up
}

add "rmmod while a file in debugfs is open" 180 debugfs_over_rmmod
add "unbind while files in debugfs are open" 90 debugfs_over_unbind
add "unbind and rmmod while files in debugfs are read" 180 debugfs_busy
add "rmmod by who is inside the directory in debugfs" 60 directory_over_rmmod
add "rmmod while sysfs attributes are open" 60 sysfs_over_rmmod
add "rmmod while sockets are connected" 90 sockets_over_rmmod
add "remoteproc's files open while its driver goes" 90 remoteproc_over_rmmod
add "remoteproc's log read while its driver goes" 90 running_remoteproc_over_rmmod
run_tests
