#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that a boot loader has started is found and used as it is.
# shellcheck source=attach_lib.sh
. "$(dirname "$0")/attach_lib.sh"

works() {
	begin
	load
	usable
	the_same_peer
}

driver_comes_again() {
	local i
	works
	for ((i = 0; i < $(by_tier 2 10); i++)); do
		unload
		nothing_left
		the_same_log
		load
		usable
		the_same_peer
	done
}
the_same_log() { [ "$(boots)" = 1 ] || die "it has booted again: $(trace)"; }

# psci_rproc goes and comes, which is nothing to the link.
starter_comes_again() {
	local i
	works
	for ((i = 0; i < $(by_tier 2 10); i++)); do
		ping -q -i 0.02 -w "$PATIENCE" $PEER_IP >/dev/null &
		rmmod psci_rproc
		[ ! -d /sys/module/psci_rproc ]
		wait_for "an answer to a ping, without psci_rproc" pings
		log_has "the firmware on cpu1 runs on without Linux"
		# (PSCI starts no core that runs.)
		if (echo 1 >$ONLINE) 2>/dev/null; then die "Linux took the core while the peer was running"; fi
		modprobe psci_rproc
		kill $!
		the_same_peer
	done
	link_is up
	[ "$(log_since | grep -c 'peer attached')" -le 1 ] || die "the link went down meanwhile"
}

# As remoteproc has it: what is detached runs on, and cannot be stopped.
by_hand() {
	local dir
	works
	dir=$(rproc)
	echo detach >"$dir/state"
	peer_is detached
	if (echo stop >"$dir/state") 2>/dev/null; then die "what is detached was stopped"; fi
	if (echo detach >"$dir/state") 2>/dev/null; then die "it was detached twice"; fi
	wait_for "an answer to a ping" pings
	echo start >"$dir/state"
	the_same_peer
}

# Now it is Linux's: the same program is started from the file in /lib/firmware, where the framework takes the one
# that was found for crashed.
restarted() {
	works
	echo 2 >"$(rproc_debug)/crash"
	wait_for "the peer to run again" peer_is running
	wait_for "the link to be up" link_is up
	usable
	[ "$(epoch)" = 2 ] || die "the epoch is $(epoch), not 2"
}

# What Linux has started it stops, and gives its core back, if it was Linux's.
as_ever() {
	begin
	stop_peer
	peer_is offline
	[ "$(<$ONLINE)" = 0 ] || die "Linux was given a core that was never its own"
	echo 1 >$ONLINE
	start_peer
	load
	usable
	rmmod psci_rproc
	[ "$(<$ONLINE)" = 1 ] || die "the core was not given back"
	wait_for "the devices to go" no_devices
	modprobe psci_rproc
	peer_is offline
}

add "a peer that was there before Linux is attached to" 60 found
add "its devices work, and it was not restarted" 60 works
add "virtio_hvl goes and comes again: the same peer" 120 driver_comes_again
add "psci_rproc goes and comes again under traffic: the same peer" 120 starter_comes_again
add "it is detached and attached to by hand" 60 by_hand
add "it crashes for the framework, and is started from a file" 60 restarted
add "stopped, it is as any other" 60 as_ever
run_tests
