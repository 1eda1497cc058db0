#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer dies at its n-th step (samples/peer/machine/src/mortal.rs), of a fault, with its core, by doing nothing any more,
# or by booting again: for each n from its boot through the probe of its drivers and traffic, until it lives to
# the end. Each time another peer in its place works, and in the end nothing is left.
# shellcheck source=kill_lib.sh
. "$(dirname "$0")/kill_lib.sh"

# The steps of one that boots again without a word are counted on, so it dies once.
WAYS=(crash off hang restart)
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
