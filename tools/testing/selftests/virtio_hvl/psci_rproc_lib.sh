# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the tests of psci_rproc, on top of lib.sh.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

DRIVER=/sys/bus/platform/drivers/psci_rproc
modprobe psci_rproc

# ---------------------------------------------------------------- helpers

# The remote processor that a test is about: that of the machine's own node, or of a test's.
DIR=$(rproc)
DEVICE=$(basename "$(readlink -f "$DIR/device")")
CORE=$(sed -n 's/^psci-cpu//p' "$DIR/name")
CORE_ONLINE=/sys/devices/system/cpu/cpu$CORE/online

core_online() { [ "$(cat "$CORE_ONLINE")" = 1 ]; }
bring_online() { echo 1 >"$CORE_ONLINE"; }
bind() { echo "$DEVICE" >"$DRIVER/bind"; }
unbind() { echo "$DEVICE" >"$DRIVER/unbind"; }
trace() { cat "/sys/kernel/debug/remoteproc/$(basename "$DIR")/trace0"; }
trace_has() { trace | grep -q -- "$1"; }

firmware() { echo "testfw-$1.elf" >"$DIR/firmware"; }
start() { firmware "$1" && echo start >"$DIR/state"; }
stop() { echo stop >"$DIR/state"; }
is() { [ "$(cat "$DIR/state")" = "$1" ]; }
running() { is running && ! core_online; }
# A core that Linux has can run something of Linux's.
given_back() { is offline && core_online && taskset -c "$CORE" true; }

# How often it was started.
ups() { log_since | grep -c "psci-cpu$CORE is now up"; }
up_times() { [ "$(ups)" -eq "$1" ]; }
restarted() { [ "$(ups)" -ge 2 ]; }

# fails ERROR COMMAND...: it does, and says so.
fails() {
	local error=$1 output
	shift
	if output=$("$@" 2>&1); then die "succeeds, but should not: $*"; fi
	[[ $output = *"$error"* ]] || die "fails not by \"$error\": $output"
}

# From whatever a test left to: bound, nothing running, the core with Linux.
clean() {
	if [ -e "$DRIVER/$DEVICE" ] && [ ! -d /sys/module/hvl_overlay ] && is offline && core_online; then
		return
	fi
	clean_afresh
}

clean_afresh() {
	remove_overlays
	modprobe psci_rproc
	if [ -e "$DRIVER/$DEVICE" ]; then
		wait_for "the end of what runs" stopped
		unbind
	fi
	core_online || wait_for "the core to be free" bring_online
	bind
	core_online
}

stopped() { is offline || stop; }

# other NAME: go on with the remote processor of the node in overlay NAME.
other() {
	[ -e /proc/device-tree/__symbols__/hvl_test_spare ] || skip "the tree has no test regions"
	apply_overlay "$1"
	DIR=$(ls -d "$DRIVER"/*remoteproc-9/remoteproc/remoteproc*)
}

# The machine's own remote processor, with no more than a second for a stop: these firmwares end
# by themselves before long.
one_second() {
	clean
	unbind
	apply_overlay rproc-second
	bind
}

check_deps() {
	local why='' tool
	[ "$(id -u)" -eq 0 ] || why="run as root"
	for tool in modprobe dmesg taskset; do
		command -v $tool >/dev/null || why="$tool is missing"
	done
	mountpoint -q /sys/kernel/debug || why="debugfs is not mounted"
	[ -e "$FIRMWARE_DIR/testfw-good.elf" ] || why="no test firmware in $FIRMWARE_DIR"
	[ -d "$DRIVER" ] || why="no module psci_rproc"
	[ -n "$DIR" ] || why="no remote processor that psci_rproc runs"
	if [ -n "$why" ]; then
		ktap_skip_all "$why"
		exit "$KSFT_SKIP_RC"
	fi
}

cleanup() { (clean_afresh; rmmod psci_rproc) >/dev/null 2>&1; }
