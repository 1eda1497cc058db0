#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Linux goes altogether at the peer's n-th step, while that holds still (die=N,holdMS): by kexec, or by a panic, which starts
# the kernel that kdump would save a dump with. The kernel that comes finds a link that works: after kexec the peer was asked
# to stop, and one that is started works; after a panic the peer is as the dead kernel has left it, with that one's rings in
# use, and is attached to, and again by the kernel after that one.
#
# So this script runs in many kernels, one after the other: hvl.kexec=WAY,STEP,PHASE,PLAN,DONE on the command line says where
# it is (guest-run goes on with the results). It needs kexec (kexec-tools), /boot/Image, and the kernel's parameters
# retain_initrd and crashkernel=.
# shellcheck source=kill_lib.sh
. "$(dirname "$0")/kill_lib.sh"

WAYS=(kexec panic)
# The first step, in the middle of the drivers' probes, and the one behind it, until there is none. In the short tier
# there is one only: each takes one kernel, or two.
FIRST=$(by_tier 60 1)
STRIDE=${HVL_STRIDE:-23}
# For longer than Linux takes to see it.
HOLD=3000
IMAGE=/boot/Image
# The machine's tree, not what kexec has made of it for a kernel that saves a dump: that is told of little memory.
TREE=/boot/tree.dtb
INITRD=/sys/firmware/initrd
ONLINE=/sys/devices/system/cpu/cpu1/online

needs() {
	local why=
	command -v kexec >/dev/null || why="no kexec: Debian's package kexec-tools"
	[ -r $IMAGE ] || why="no $IMAGE, which is the kernel that is to come"
	[ -r $INITRD ] || why="no $INITRD: boot with retain_initrd"
	[ "$(</sys/kernel/kexec_crash_size)" != 0 ] || why="no memory for a kernel after a panic: boot with crashkernel="
	[ -z "$why" ] || { ktap_skip_all "$why"; exit "$KSFT_SKIP_RC"; }
}

# next_kernel HOW PHASE STEP: the one that comes. HOW: -l by kexec, -p by a panic.
next_kernel() {
	local line
	line=$(sed 's/ hvl\.kexec=[^ ]*//; s/ crashkernel=[^ ]*//' /proc/cmdline)
	[ "$1" = -p ] || line+=" $CRASHKERNEL"
	if [ ! -e $TREE ]; then
		cp /sys/firmware/fdt $TREE
		cp $INITRD "$TMP/initrd"
		(cd / && echo "${TREE#/}" | busybox cpio -o -H newc >>"$TMP/initrd")
	fi
	[ ! -e "$TMP/initrd" ] || INITRD=$TMP/initrd
	# (-i: what was loaded is not checked. That is done with the caches off, and takes a minute under emulation.)
	kexec -c -i "$1" $IMAGE --initrd="$INITRD" --dtb=$TREE \
		--command-line="$line hvl.kexec=$WAY,$3,$2,${#WAYS[@]},$DONE" || die "there is no other kernel"
}

# The peer, which knows nothing of what has happened to Linux.
as_it_was_left() {
	modprobe virtio_net
	modprobe vmw_vsock_virtio_transport
	modprobe virtio_blk
	modprobe psci_rproc
	peer_is attached || die "the state of a peer that runs is $(peer_state)"
	[ "$(trace | grep -c 'virtio-hvl peer')" = 1 ] || die "it has booted again: $(trace)"
	load
	serves thoroughly
	unload
	nothing_left
}

# One that was asked to stop, and another in its place.
as_ever_after() {
	peer_is offline || die "after kexec the state is $(peer_state)"
	[ "$(<$ONLINE)" = 1 ] || die "its core was not given back"
	fresh
	modprobe virtio_blk
	patch_firmware honest "devices=net,vsock,blk spin=0" >/dev/null
	load
	replaced thoroughly
	unload
	nothing_left
}

in_order() {
	log_take "$TMP/kernel"
	if trouble "$TMP/kernel"; then die "the kernel is in trouble"; fi
}

# Comes to its end where there is no such step; else the next kernel goes on.
go_on() {
	local pid
	case $PHASE in
	begun) as_ever_after ;;
	crashed)
		as_it_was_left
		next_kernel -l attached "$STEP"
		in_order
		kexec -e -x
		;;
	attached)
		as_it_was_left
		stop_peer
		echo 1 >$ONLINE
		;;
	esac
	if [ "$PHASE" ] && [ -z "$(by_tier '' all)" ]; then return 0; fi
	fresh
	modprobe virtio_blk
	if [ "$WAY" = panic ]; then
		next_kernel -p crashed $((STEP + STRIDE))
	else
		next_kernel -l begun $((STEP + STRIDE))
	fi
	load
	start_peer "$(patch_firmware mortal "devices=net,vsock,blk spin=0 die=$STEP,hold$HOLD")"
	TRACE=$(rproc_debug)/trace0
	traffic &
	pid=$!
	until trace_tells 'the last step'; do
		if ! kill -0 $pid 2>/dev/null; then
			stop_peer
			unload
			[ "$STEP" -gt $LEAST ] || die "it lived to the end when Linux was to go at step $STEP: there was no traffic"
			return 0
		fi
		nap 0.02
	done
	in_order
	case $WAY in
	kexec) kexec -e -x ;;
	panic) echo c >/proc/sysrq-trigger ;;
	esac
	sleep 60
	die "Linux is still there"
}

CRASHKERNEL=crashkernel=1G
EXPECTED_TROUBLE=$TMP/expected
: >"$EXPECTED_TROUBLE"
IFS=, read -r WAY STEP PHASE _ DONE < <(tr ' ' '\n' </proc/cmdline | sed -n 's/^hvl\.kexec=//p') || true
if [ -z "${WAY:-}" ]; then
	check_deps
	needs
	ktap_print_header
	echo "1..${#WAYS[@]}"
	WAY=${WAYS[0]} STEP=$FIRST PHASE='' DONE=0
else
	modprobe psci_rproc
fi
while [ "$DONE" -lt ${#WAYS[@]} ]; do
	WAY=${WAYS[DONE]}
	status=0
	# There are many kernels, and nothing else to see of them.
	[ -z "$(by_tier '' all)" ] || echo "# $WAY, step $STEP${PHASE:+: $PHASE}"
	(
		set -eEuo pipefail
		trap 'echo "failed (status $?): line $LINENO: $BASH_COMMAND" >&2' ERR
		go_on
	) >"$TMP/log" 2>&1 </dev/null
	status=$?
	DONE=$((DONE + 1))
	if [ $status -eq 0 ]; then
		echo "ok $DONE Linux goes at each step, to the ${STEP}th: $WAY"
	else
		tail -n 40 "$TMP/log" | sed 's/^/# /'
		dmesg | tail -n 60 | sed 's/^/# | /'
		echo "not ok $DONE Linux goes at each step, at the ${STEP}th: $WAY${PHASE:+, $PHASE}"
	fi
	STEP=$FIRST PHASE=''
done
(cleanup) >/dev/null 2>&1 || { echo "# something is left"; exit 1; }
[ $status -eq 0 ]
