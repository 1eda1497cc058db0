#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# psci_rproc: firmware on a core taken from Linux. The firmware is testfw, one ELF for
# each way in which a firmware can behave (tools/testing/firmware).
# shellcheck source=psci_rproc_lib.sh
. "$(dirname "$0")/psci_rproc_lib.sh"

# ---------------------------------------------------------------- a life

starts() {
	clean
	start good
	running
	expect_log "CPU$CORE killed"
	expect_log "psci-cpu$CORE is now up"
	wait_for "its first words in the trace buffer" trace_has "hello from EL"
}

stops() {
	clean
	start good
	wait_for "its first words" trace_has hello
	stop
	given_back
	expect_log "Booted secondary processor"
}

again_and_again() {
	local i
	clean
	for ((i = 0; i < $(by_tier 5 20); i++)); do
		start good
		running
		stop
		given_back
	done
}

stays_away() {
	clean
	start good
	fails "Operation not permitted" bring_online
	expect_log "cpu$CORE belongs to a firmware: stop that before onlining it"
	running
	stop
	given_back
}

as_it_was() {
	clean
	echo 0 >"$CORE_ONLINE"
	start good
	running
	stop
	is offline
	! core_online || die "a core that the user had taken offline is online after the stop"
	bring_online
	given_back
}

# The same for a core that was left to a firmware, and that Linux has had since.
as_it_was_later() {
	one_second
	start brief
	unbind
	expect_log "cpu$CORE still runs a firmware: it is not given back to Linux"
	wait_for "the end of that firmware" bring_online
	echo 0 >"$CORE_ONLINE"
	bind
	start good
	stop
	is offline
	! core_online || die "a core that the user had taken offline is online after the stop"
	bring_online
	given_back
}

last_core() {
	local cpu others
	clean
	[ -w /sys/devices/system/cpu/cpu0/online ] || skip "cpu0 cannot be taken offline here"
	others=$(echo /sys/devices/system/cpu/cpu[0-9]*)
	for cpu in $others; do
		[ "$cpu" = "/sys/devices/system/cpu/cpu$CORE" ] || echo 0 >"$cpu/online"
	done
	fails "Device or resource busy" start good
	for cpu in $others; do
		echo 1 >"$cpu/online"
	done
	expect_log "cpu$CORE cannot be taken from Linux: it is the last one"
	given_back
}

unbound() {
	clean
	start good
	unbind
	core_online
	bind
	start good
	stop
	given_back
}

unloaded() {
	clean
	start good
	rmmod psci_rproc
	core_online
	clean
	start good
	stop
	given_back
}

# ---------------------------------------------------------------- firmware that misbehaves

slow() {
	one_second
	start slow
	fails "timed out" stop
	expect_log "did not switch cpu$CORE off within 1000 ms of the stop request: it still runs"
	running
	trace_has "stop ignored"
	fails "timed out" stop
	running
	stop
	given_back
}

# It ends 3 s after it was asked to, the first time.
late() {
	one_second
	start brief
	fails "timed out" stop
	running
	expect_log "has switched cpu$CORE off now: stop again to have the core back"
	running
	stop
	given_back
	expect_no_log "without being asked to"
}

off_at_once() {
	clean
	fails "Exec format error" start off
	expect_log "cpu$CORE is off again: its firmware, started at 0x[0-9a-f]+, has ended at once"
	given_back
}

crashes() {
	clean
	start crash
	wait_for "its second life" restarted
	expect_log "has switched cpu$CORE off without being asked to"
	expect_log "crash detected in psci-cpu$CORE"
	wait_for "the state after recovery" running
	stop
	given_back
}

crashes_for_good() {
	local recovery
	clean
	recovery=/sys/kernel/debug/remoteproc/$(basename "$DIR")/recovery
	echo disabled >"$recovery"
	start crash
	wait_for "its end" is crashed
	trace_has "exception, ESR"
	! core_online || die "Linux has the core of a firmware that crashed"
	stop
	echo enabled >"$recovery"
	given_back
}

# exchanged FIRMWARE LINE: what is in the place of the file when it crashes.
exchanged() {
	clean
	cp "$FIRMWARE_DIR/testfw-crash.elf" "$FIRMWARE_DIR/testfw-x.elf"
	start x
	cp "$FIRMWARE_DIR/testfw-$1.elf" "$FIRMWARE_DIR/testfw-x.elf"
	expect_log "testfw-x.elf: $2"
	expect_log "the restart failed: the device has to be unbound and bound"
	given_back
	clean_afresh
	start good
	stop
	given_back
}

# Nothing can take the core away from it.
deaf() {
	one_second
	start deaf
	fails "timed out" stop
	running
	unbind
	expect_log "cpu$CORE still runs a firmware: it is not given back to Linux"
	# PSCI refuses that now.
	! bring_online 2>/dev/null || die "Linux has a core that runs a firmware"
	bind
	fails "Device or resource busy" start good
	expect_log "cpu$CORE already runs something that is not Linux: nothing is loaded"
	is offline
	wait_for "the end of that firmware" start good
	running
	stop
	given_back
}

deaf_and_unloaded() {
	one_second
	start deaf
	rmmod psci_rproc
	expect_log "cpu$CORE still runs a firmware: it is not given back to Linux"
	! bring_online 2>/dev/null || die "Linux has a core that runs a firmware"
	wait_for "the end of that firmware" bring_online
	clean
	start good
	stop
	given_back
}

# ---------------------------------------------------------------- other nodes

# The firmware wants its doorbell rung, which is in its own memory here.
doorbell() {
	clean
	unbind
	other rproc-bell
	start bell
	stop
	given_back
	remove_overlays
}

# The machine's own doorbell is elsewhere: the one above has been rung, not just waited for.
no_doorbell() {
	one_second
	start bell
	fails "timed out" stop
	wait_for "the end of that firmware" stopped
	given_back
}

impatient() {
	clean
	unbind
	other rproc-impatient
	start slow
	fails "timed out" stop
	expect_log "within 50 ms of the stop request"
	wait_for "the end of it" stopped
	given_back
	remove_overlays
}

# Two nodes for one core.
shared() {
	clean
	start good
	other rproc-spare
	fails "Device or resource busy" start good
	expect_log "cpu$CORE already runs something that is not Linux"
	remove_overlays
	DIR=$(rproc)
	running
	stop
	given_back
}

# An overlay that is removed takes its running remote processor with it.
removed() {
	clean
	unbind
	other rproc-impatient
	start good
	remove_overlays
	core_online
}

add "starts on a core that Linux gives up, and says so in its trace buffer" 30 starts
add "stops, and Linux has the core again" 30 stops
add "the core cannot be brought online meanwhile" 30 stays_away
add "starts and stops $(by_tier 5 20) times" 120 again_and_again
add "a core that was offline before is so afterwards" 30 as_it_was
add "so is one that Linux had to leave to a firmware before, and then had again" 30 as_it_was_later
add "the last online core is not taken" 30 last_core
add "a firmware that crashes is started again" 30 crashes
add "a firmware that never stops keeps the core, and nothing hangs" 60 deaf
add "the doorbell is rung for a stop" 30 doorbell
# The rest is the same however PSCI is called.
if [ -n "${HVL_FEWER-}" ]; then
	run_tests
	exit
fi
add "unbinding stops it" 30 unbound
add "rmmod stops it" 30 unloaded
add "a stop that takes too long fails and can be tried again" 30 slow
add "a firmware that stops after the deadline is noticed" 30 late
add "a firmware that ends at once is an error, and the core is given back" 30 off_at_once
add "a firmware that crashes without recovery keeps its trace until it is stopped" 30 crashes_for_good
add "exchanged while it ran, for one that does not fit: not loaded in a recovery" 30 exchanged outside \
	"segment 0, .* is outside of the memory-region"
add "exchanged for one that begins elsewhere" 30 exchanged other-entry "its entry point or its resource table has changed"
add "exchanged for one with other resources" 30 exchanged long-trace "its entry point or its resource table has changed"
add "exchanged for one without a stop request" 30 exchanged no-stop "its resource table has no stop request"
add "a firmware that never stops survives rmmod" 60 deaf_and_unloaded
add "without its doorbell that firmware does not stop" 30 no_doorbell
add "the time for a stop is that of the node" 30 impatient
add "a core that another remote processor has is not taken" 30 shared
add "removing the node of a running one stops it" 30 removed

run_tests
