#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# psci_rproc: firmware on a core taken from Linux. The firmware is testfw, one ELF for
# each way in which a firmware can behave or be wrong (tools/testing/firmware).
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
	for ((i = 0; i < 20; i++)); do
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

# Nothing can take the core away from it. It ends by itself after 15 s.
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

# refused_node NAME ERROR PATTERN: one line in the log, and no remote processor.
refused_node() {
	local node text
	clean
	[ -e /proc/device-tree/__symbols__/hvl_test_spare ] || skip "the tree has no test regions"
	apply_overlay "bad-rproc-$1"
	node=$(basename "$(ls -d /sys/bus/platform/devices/*remoteproc-9)")
	text=$(log_since | grep -F "$node: " | grep -vF "probe with driver" || true)
	[ "$(wc -l <<<"$text")" -eq 1 ] || die "not one line: $text"
	grep -E -- "$3" <<<"$text" || die "should match $3: $text"
	text=$({ echo "$node" >"$DRIVER/bind"; } 2>&1 || true)
	[[ $text = *"$2"* ]] || die "fails not by \"$2\": $text"
	[ "$(ls -d /sys/class/remoteproc/*)" = "$DIR" ] || die "a remote processor is left"
	remove_overlays
	core_online
}

# ---------------------------------------------------------------- firmware that is wrong

# refused FIRMWARE ERROR LINE: before anything happens to the core.
refused() {
	clean
	fails "$2" start "$1"
	expect_log "$3"
	expect_no_log "CPU$CORE killed"
	given_back
}

text() {
	echo "This is no firmware, but it is longer than the header of an ELF file is." \
		>"$FIRMWARE_DIR/testfw-text.elf"
	refused text "Exec format error" \
		"testfw-text.elf: not an ELF file: it begins with 54 68 69 73, not with 7f 45 4c 46"
}

short() {
	printf '\177ELF' >"$FIRMWARE_DIR/testfw-short.elf"
	refused short "Exec format error" \
		"testfw-short.elf: truncated: its ELF header would end at byte 64, the file has 4"
}

wrong() {
	refused "$1" "Exec format error" "testfw-$1.elf: $2"
}

add "starts on a core that Linux gives up, and says so in its trace buffer" 30 starts
add "stops, and Linux has the core again" 30 stops
add "the core cannot be brought online meanwhile" 30 stays_away
add "starts and stops 20 times" 120 again_and_again
add "a core that was offline before is so afterwards" 30 as_it_was
add "so is one that Linux had to leave to a firmware before, and then had again" 30 as_it_was_later
add "the last online core is not taken" 30 last_core
add "unbinding stops it" 30 unbound
add "rmmod stops it" 30 unloaded
add "a stop that takes too long fails and can be tried again" 30 slow
add "a firmware that stops after the deadline is noticed" 30 late
add "a firmware that ends at once is an error, and the core is given back" 30 off_at_once
add "a firmware that crashes is started again" 30 crashes
add "a firmware that crashes without recovery keeps its trace until it is stopped" 30 crashes_for_good
add "exchanged while it ran, for one that does not fit: not loaded in a recovery" 30 exchanged outside \
	"segment 0, .* is outside of the memory-region"
add "exchanged for one that begins elsewhere" 30 exchanged other-entry "its entry point or its resource table has changed"
add "exchanged for one with other resources" 30 exchanged long-trace "its entry point or its resource table has changed"
add "exchanged for one without a stop request" 30 exchanged no-stop "its resource table has no stop request"
add "refused: no such file" 30 refused none "No such file" "testfw-none.elf"
add "refused: not an ELF file" 30 text
add "refused: shorter than an ELF header" 30 short
add "refused: 32-bit" 30 wrong class "not a 64-bit ELF file: its class is 1, not 2"
add "refused: big-endian" 30 wrong endian "not a little-endian ELF file: its data encoding is 2, not 1"
add "refused: another machine" 30 wrong machine "not an arm64 ELF file: its machine is 62, not 183"
add "refused: truncated" 30 wrong truncated "truncated: its segments would end at byte [0-9]+, the file has 4608"
add "refused: program headers beyond any file" 30 wrong huge-phoff "truncated: its program header would end at byte"
add "refused: a segment outside of the memory" 30 wrong outside \
	"segment 0, [0-9]+ bytes at 0x70000000, is outside of the memory-region 0x[0-9a-f]+-0x[0-9a-f]+"
add "refused: too large for the memory" 30 wrong big "segment 1, [0-9]+ bytes at 0x[0-9a-f]+, is outside of the memory-region"
add "refused: an entry point outside of the memory" 30 wrong entry \
	"its entry point 0x70000000 is not in an executable segment in the memory-region"
add "refused: without a resource table" 30 wrong no-table "has no .resource_table section"
add "refused: without a stop request" 30 wrong no-stop "its resource table has no stop request"
add "refused: another version of the stop request" 30 wrong stop-version \
	"its stop request \(resource 128\) has version 9, not 1"
add "refused: a carveout" 30 wrong carveout \
	"entry 0 of its resource table has type 0 \(carveout\), which cannot be had here: allowed are trace buffers \(2\) and the stop request \(128\)"
add "refused: a virtio device" 30 wrong vdev "entry 0 of its resource table has type 3 \(vdev\), which cannot be had here"
add "a firmware that never stops keeps the core, and nothing hangs" 60 deaf
add "a firmware that never stops survives rmmod" 60 deaf_and_unloaded
add "the doorbell is rung for a stop" 30 doorbell
add "without its doorbell that firmware does not stop" 30 no_doorbell
add "the time for a stop is that of the node" 30 impatient
add "a core that another remote processor has is not taken" 30 shared
add "removing the node of a running one stops it" 30 removed

bad_rproc() { add "refused node: $1" 30 refused_node "$1" "$2" "$3"; }
# shellcheck source=psci_rproc_cases.sh
. "$HERE/psci_rproc_cases.sh"

run_tests
