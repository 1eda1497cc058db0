#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Linux's side goes at the peer's n-th step: while that holds still (die=N,holdMS), so that what Linux waits for just then
# does not come, the module is removed, the link is unbound, or the drivers are unbound from their devices. For each n
# from the peer's boot through the probe of the drivers, traffic and the module's own removal, until there is no n-th step.
# Each time the same peer, which lives on, serves a Linux that has come again, and the books balance.
# shellcheck source=kill_lib.sh
. "$(dirname "$0")/kill_lib.sh"

WAYS=(rmmod unbind drivers)
DRIVER=/sys/bus/platform/drivers/virtio_hvl
# How long it holds still, in ms: longer where Linux takes longer to act, but for less than the deadline.
HOLD=500
HOLD_MOST=4000

# goes HOW: it may be on its way out anyway, so each may fail.
goes() {
	local dev
	case $1 in
	rmmod) while loaded && ! rmmod virtio_hvl 2>/dev/null; do nap 0.05; done ;;
	unbind) echo "$LINK" >$DRIVER/unbind ;;
	drivers)
		for dev in $(virtio_devices); do
			[ ! -e "$dev/driver" ] || basename "$dev" >"$dev/driver/unbind"
		done
		;;
	esac
} 2>/dev/null

# The one that acts when the peer holds still, and says how that was.
actor() {
	until trace_tells 'the last step'; do
		[ ! -e "$TMP/over" ] || return 0
		nap 0.02
	done
	if trace_tells 'lives on'; then
		echo late >"$TMP/acted"
	else
		echo "in time" >"$TMP/acted"
	fi
	goes "$1" || true
}

# comes HOW: what has gone.
comes() {
	local dev
	if ! loaded; then
		nothing_left
		load
	elif [ ! -e "$DRIVER/$LINK" ]; then
		[ "$1" = unbind ] || die "the link is unbound after: $1"
		no_devices || die "devices are left: $(virtio_devices)"
		echo "$LINK" >$DRIVER/bind
	fi
	wait_for "the link to be up" link_is up
	if [ "$1" = drivers ]; then
		for dev in $(virtio_devices); do
			[ -e "$dev/driver" ] || basename "$dev" >/sys/bus/virtio/drivers_probe
		done
	fi
}

# goes_at STEP HOW: 1: there is no such step; 2: it was too late.
goes_at() {
	local pid
	rm -f "$TMP/over" "$TMP/acted"
	start_peer "$(patch_firmware mortal "devices=net,vsock,blk spin=0 die=$1,hold$HOLD")"
	actor "$2" &
	pid=$!
	traffic
	unload 2>/dev/null || true
	touch "$TMP/over"
	in_time "$DEADLINE" wait_gone $pid
	comes "$2"
	serves thoroughly
	stop_peer
	wait_for "the devices to go" no_devices
	[ -e "$TMP/acted" ] || return 1
	[ "$(<"$TMP/acted")" = "in time" ] || return 2
}
wait_gone() { while kill -0 "$1" 2>/dev/null; do nap 0.05; done; }

goes_through() {
	local how=$1 step=1 status before after acted=0 late=0
	fresh
	modprobe virtio_blk
	patch_firmware honest "devices=net,vsock,blk spin=0" >/dev/null
	load
	recovery disabled
	TRACE=$(rproc_debug)/trace0
	replaced thoroughly
	before=$(books)
	while :; do
		status=0
		goes_at "$step" "$how" || status=$?
		after=$(books)
		[ "$before" = "$after" ] || die "step $step, $how: the books do not balance: before: $before; after: $after"
		case $status in
		0) acted=$((acted + 1)) step=$((step + STRIDE)) ;;
		2)
			# On a machine as slow as that it has gone at some later step.
			if [ $HOLD -ge $HOLD_MOST ]; then late=$((late + 1)) step=$((step + STRIDE)); fi
			HOLD=$((HOLD * 2 < HOLD_MOST ? HOLD * 2 : HOLD_MOST))
			;;
		*) break ;;
		esac
	done
	[ "$step" -gt $LEAST ] || die "it lived to the end when Linux was to go at step $step: there was no traffic"
	[ "$acted" -gt 0 ] || die "Linux was always too late"
	say "$how: at $acted steps, each ${STRIDE}th to the ${step}th, which there was not; too late at $late"
	unload
	nothing_left
	recovery enabled
}

for how in "${WAYS[@]}"; do
	add "Linux goes at each step: $how" "$(by_tier 300 7200)" goes_through "$how"
done
run_tests
