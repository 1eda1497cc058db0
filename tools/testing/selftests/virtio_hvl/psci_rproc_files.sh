#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the files of remoteproc do with a firmware of psci_rproc: each is a statement of
# Documentation/virtio-hvl/psci_rproc.rst. The firmware is testfw, as for psci_rproc.sh.
# shellcheck source=psci_rproc_lib.sh
. "$(dirname "$0")/psci_rproc_lib.sh"

debug_file() { echo "/sys/kernel/debug/remoteproc/$(basename "$DIR")/$1"; }
write() { echo "$1" >"$2"; }

# Whoever starts it, in addition to those who have, has to stop it as well.
start_counts() {
	clean
	start good
	write start "$DIR/state"
	write start "$DIR/state"
	up_times 1
	stop
	running
	stop
	running
	expect_no_log "stopped remote processor"
	stop
	given_back
	fails "Invalid argument" stop
	# What has failed does not count.
	fails "No such file" start none
	start good
	stop
	given_back
	# Nor does a stop that has failed.
	one_second
	start brief
	fails "timed out" stop
	wait_for "the end of that firmware" stopped
	given_back
	# Unbinding does not ask how often it was started.
	start good
	write start "$DIR/state"
	unbind
	core_online
}

words() {
	local file word
	clean
	[ "$(cat "$DIR/name")" = "psci-cpu$CORE" ]
	[ "$(cat "$(debug_file name)")" = "psci-cpu$CORE" ]
	for word in begin detach restart 1 ""; do
		fails "Invalid argument" write "$word" "$DIR/state"
	done
	expect_log "Unrecognised option: begin"
	start good
	fails "Invalid argument" write detach "$DIR/state"
	for word in on off 1 default; do
		fails "Invalid argument" write "$word" "$DIR/recovery"
		fails "Invalid argument" write "$word" "$DIR/coredump"
		fails "Invalid argument" write "$word" "$(debug_file recovery)"
		fails "Invalid argument" write "$word" "$(debug_file coredump)"
	done
	fails "Invalid argument" write now "$(debug_file crash)"
	fails "Device or resource busy" firmware good
	fails "Permission denied" write other "$DIR/name"
	running
	stop
	given_back
	fails "Invalid argument" write "" "$DIR/firmware"
	write ../firmware/testfw-good.elf "$DIR/firmware"
	[ "$(cat "$DIR/firmware")" = ../firmware/testfw-good.elf ]
	fails "Invalid argument" write start "$DIR/state"
	given_back
}

# In a directory of its own below /lib/firmware, and in one that comes before that.
firmware_path() {
	local before
	before=$FIRMWARE_DIR/updates/$(uname -r)
	clean
	mkdir -p "$FIRMWARE_DIR/below" "$before"
	cp "$FIRMWARE_DIR/testfw-good.elf" "$FIRMWARE_DIR/below/testfw-x.elf"
	cp "$FIRMWARE_DIR/testfw-good.elf" "$FIRMWARE_DIR/testfw-x.elf"
	write below/testfw-x.elf "$DIR/firmware"
	write start "$DIR/state"
	running
	stop
	# The first one is taken, whether it will do or not.
	cp "$FIRMWARE_DIR/testfw-no-stop.elf" "$before/testfw-x.elf"
	fails "Exec format error" start x
	rm "$before/testfw-x.elf"
	start x
	stop
	given_back
}

# The user says that it has crashed: it is asked to stop, and started again.
told_to_crash() {
	local recovery
	clean
	recovery=$DIR/recovery
	write 0 "$(debug_file crash)"
	given_back
	start good
	write 1 "$(debug_file crash)"
	wait_for "its second life" up_times 2
	expect_log "crash detected in psci-cpu$CORE: type watchdog"
	expect_no_log "without being asked to"
	wait_for "the state after recovery" running

	write disabled "$recovery"
	[ "$(cat "$(debug_file recovery)")" = disabled ]
	write 2 "$(debug_file crash)"
	wait_for "what it was told" is crashed
	# It runs on. A start does nothing but count.
	write start "$DIR/state"
	is crashed
	! core_online || die "Linux has the core of a firmware that runs"
	fails "Device or resource busy" firmware good
	fails "Device or resource busy" write enabled "$DIR/coredump"
	write recover "$recovery"
	running
	[ "$(cat "$recovery")" = disabled ]
	write 2 "$(debug_file crash)"
	wait_for "what it was told" is crashed
	# What was lost is made up for.
	write enabled "$recovery"
	running
	stop
	running
	stop
	given_back
}

# One that does not stop is not started again, until it does.
told_to_crash_and_deaf() {
	one_second
	start slow
	write 1 "$(debug_file crash)"
	expect_log "did not switch cpu$CORE off within 1000 ms of the stop request"
	is crashed
	# It succeeds, whatever becomes of it.
	write recover "$DIR/recovery"
	is crashed
	up_times 1
	write recover "$DIR/recovery"
	running
	up_times 2
	wait_for "the end of that firmware" stopped
	given_back
}

# There is nothing to be dumped.
no_coredump() {
	local how ups=0
	clean
	[ "$(cat "$DIR/coredump")" = disabled ]
	for how in enabled inline; do
		write $how "$DIR/coredump"
		start good
		write 0 "$(debug_file crash)"
		wait_for "its second life" up_times $((ups += 2))
		running
		stop
		given_back
		! ls -d /sys/class/devcoredump/devcd* 2>/dev/null || die "there is a core dump"
	done
	write disabled "$DIR/coredump"
}

tables() {
	clean
	start good
	grep -q 'type trace' "$(debug_file resource_table)"
	grep -q 'Unknown resource type found: 128' "$(debug_file resource_table)"
	[ -z "$(cat "$(debug_file carveout_memories)")" ]
	stop
	grep -q 'No resource table found' "$(debug_file resource_table)"
	[ ! -e "$(debug_file trace0)" ]
	given_back
}

add "as many stops are needed as there were starts" 60 start_counts
add "remoteproc's files refuse other words" 30 words
add "where a firmware is looked for" 30 firmware_path
add "a crash that the user reports is a restart" 60 told_to_crash
add "one that does not stop for it is not started twice" 60 told_to_crash_and_deaf
add "there are no core dumps" 30 no_coredump
add "what debugfs says of a firmware" 30 tables
run_tests
