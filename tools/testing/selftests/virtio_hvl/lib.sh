# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the tests of virtio_hvl: KTAP, one line a test; the kernel log looked at
# around each; the peer started and stopped through remoteproc.
#
# A script sources this file, names its tests by `add`, and calls `run_tests`. A test is a
# function; it fails by a command that fails (set -e) or by `die`. What it prints is
# shown only then. HVL_TIMES=1 tells how long each took.

export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
if [ -r "$HERE/../kselftest/ktap_helpers.sh" ]; then
	# shellcheck source=/dev/null
	. "$HERE/../kselftest/ktap_helpers.sh"
else
	. "$HERE/ktap.sh"
fi

KSFT_SKIP_RC=4 # as ktap_helpers.sh
PEER_IP=10.77.0.1
OUR_IP=10.77.0.2
PEER_CID=2
FIRMWARE=${HVL_FIRMWARE:-hvl-peer.elf}
FIRMWARE_DIR=/lib/firmware
DEBUGFS=/sys/kernel/debug/virtio_hvl
# How long the peer and the driver may take for anything but a bulk transfer. Only a
# hang takes that long. Seconds of the tests' clock, as all their limits: see clock.sh.
DEADLINE=20
# The same for tools with a time limit of their own, which know no clock but the machine's.
PATIENCE=$((DEADLINE * 5 * ${HVL_SLOWER:-1}))

TMP=$(mktemp -d /tmp/hvl.XXXXXX)
trap 'rm -rf "$TMP"' EXIT

# What the kernel says when it is in trouble.
TROUBLE='WARNING:|BUG:|BUG |Oops|Call trace|Internal error|Unable to handle|INFO: |soft lockup'
TROUBLE+='|hard LOCKUP|rcu.*stall|KASAN|UBSAN|KFENCE|refcount_t|scheduling while atomic|deadlock|ODEBUG|DMA-API'
TROUBLE+='|corruption|turning off the locking'
TROUBLE+='|nobody cared|cannot create duplicate|kernel panic|rust_kernel: panic|memory leak'
# Where it asks for trouble on purpose, a test says which lines of those it expects.

# by_tier SHORT LONG: the one of the tier that runs.
by_tier() { [ -n "${HVL_LONG-}" ] && echo "$2" || echo "$1"; }

die() {
	echo "$*" >&2
	exit 1
}

skip() {
	echo "$*" >&2
	exit $KSFT_SKIP_RC
}

# shellcheck source=clock.sh
. "$HERE/clock.sh"
# shellcheck source=data.sh
. "$HERE/data.sh"
# shellcheck source=detectors.sh
. "$HERE/detectors.sh"

# ---------------------------------------------------------------- the kernel log

# log_mark: from now on.
log_mark() {
	MARK="hvl-selftest $$ $RANDOM$RANDOM"
	echo "$MARK" >/dev/kmsg
}

# log_between MARK MARK: what the kernel has said between them; 2 if it does not have the second one.
# A log that does not have the first one any more, after a flood of messages, must not pass for one
# without trouble.
log_between() {
	dmesg | awk -v from="$1" -v to="$2" '
		index($0, to) { ended = 1; exit }
		found { print }
		index($0, from) { found = 1 }
		NR == 1 { first = $0 }
		{ last = $0 }
		END {
			if (found) exit ended ? 0 : 2
			print "the log is too short (log_buf_len=): its beginning is lost" >"/dev/stderr"
			printf "(not there: %s; %d lines, from: %s to: %s)\n", from, NR, first, last >"/dev/stderr"
			exit 1
		}'
}

log_since() { log_between "$MARK" "no such mark" || [ $? -eq 2 ]; }

# log_take FILE: all of it since the last mark, and a new mark. So nothing falls in between.
log_take() {
	local from=$MARK tries
	# A mark was missing once in many thousand tests, in a log that was far from full: whether it was not written
	# or not read is not known. So the new one has to be there, and there is more than one look.
	for tries in 1 2 3; do
		log_mark
		log_between "$from" "$MARK" >"$1" 2>&1 && return
	done
	echo "marks are missing in the kernel's log, whenever it is read ($tries times)" >>"$1"
	return 1
}

# A script may load a module before its first test.
MARK=
if [ -w /dev/kmsg ]; then log_mark; fi

log_has() { log_since | grep -E -- "$1" >/dev/null; }

# The line that the driver has to write, and the word it has to contain.
expect_log() {
	wait_for "a line in the log that matches: $1" log_has "$1"
}

expect_no_log() {
	local log
	log=$(log_since) || die "it cannot be told whether the log has a line that matches: $1"
	if grep -E -- "$1" <<<"$log"; then die "the log should have no line that matches: $1"; fi
}

# ---------------------------------------------------------------- tests

NAMES=()
TESTS=()
LIMITS=()

# add DESCRIPTION SECONDS FUNCTION [ARGUMENT...]: SECONDS of the clock is when a hang is ended.
# With HVL_ONLY only those whose description matches that.
add() {
	local name=$1 limit=$2
	shift 2
	[[ $name =~ ${HVL_ONLY:-} ]] || return 0
	NAMES+=("$name")
	LIMITS+=("$limit")
	TESTS+=("$(printf '%q ' "$@")")
}

# say WORDS: a line with the results, beside that of the test.
say() { echo "# $*" >>"$TMP/said"; }

# A test in a shell and a process group of its own: whatever it leaves running goes.
one_test() {
	local limit=$1 name=$2 log=$3 status=0 pid dog
	shift 3
	printf '%09d\n' 0 >"$CLOCK"
	set -m
	(
		set +m
		set -eEuo pipefail
		trap 'echo "failed (status $?): line $LINENO: $BASH_COMMAND" >&2' ERR
		eval "$1"
	) >"$log" 2>&1 </dev/null &
	pid=$!
	(
		keep_time "$limit" "$name"
		echo "no end after $limit s by the tests' clock" >>"$log"
		kill -KILL -- -$pid
	) &
	dog=$!
	set +m
	wait $pid 2>/dev/null || status=$?
	kill -KILL -- -$pid -$dog 2>/dev/null
	wait $dog 2>/dev/null
	return $status
}

# trouble LOG: the lines in it that say that the kernel is in trouble.
trouble() { grep -E "$TROUBLE" "$1" | grep -vE -f "$EXPECTED_TROUBLE"; }

# judge INDEX: run that test, look at the kernel log, print the result.
judge() {
	local i=$1 log=$TMP/log kernel=$TMP/kernel status start=$SECONDS well=1
	: >"$EXPECTED_TROUBLE"
	# Not in a condition: bash ignores set -e there, even that of a subshell.
	one_test "${LIMITS[i]}" "${NAMES[i]}" "$log" "${TESTS[i]}"
	status=$?
	clock
	rm "$CLOCK"
	[ -z "${HVL_TIMES:-}" ] || echo "# $((SECONDS - start)) s, $((NOW / 1000)) s by the tests' clock:"
	if ! log_take "$kernel" || trouble "$kernel" >/dev/null; then well=; fi
	# What happened before the first test is the last one's.
	if [ $((i + 1)) -eq ${#TESTS[@]} ] && [ -s "$TMP/set-up" ]; then
		well=
		cat "$TMP/set-up" "$kernel" >"$kernel.all"
		kernel=$kernel.all
	fi
	if [ $status -eq 0 ] && [ "$well" ]; then
		ktap_test_pass "${NAMES[i]}"
	elif [ $status -eq $KSFT_SKIP_RC ] && [ "$well" ]; then
		ktap_test_skip "${NAMES[i]}: $(tail -n 1 "$log")"
	else
		tail -n 40 "$log" | sed 's/^/# /'
		# The end of a flood does not say how it began.
		if [ ! "$well" ]; then
			echo "# the kernel is in trouble:"
			trouble "$kernel" | head -n 20 | sed 's/^/# > /'
		fi
		tail -n 60 "$kernel" | sed 's/^/# | /'
		ktap_test_fail "${NAMES[i]}"
	fi
	if [ -e "$TMP/said" ]; then
		cat "$TMP/said"
		rm "$TMP/said"
	fi
}

run_tests() {
	local i status skipped
	EXPECTED_TROUBLE=$TMP/expected
	: >"$EXPECTED_TROUBLE"
	HVL_ONLY='' add "set-up and cleanup leave the kernel well" 120 leave_well
	ktap_print_header
	skipped=$(check_deps)
	status=$?
	# Kept only if there is trouble. Without root there is no mark, and nothing was done.
	if [ -z "$MARK" ] || { log_take "$TMP/set-up" && ! trouble "$TMP/set-up" >/dev/null; }; then
		: >"$TMP/set-up"
	fi
	if [ $status -eq $KSFT_SKIP_RC ] && [ ! -s "$TMP/set-up" ]; then
		echo "$skipped"
		exit $status
	elif [ $status -ne 0 ]; then
		# Too little is there for any test but the last one, which tells of the trouble.
		echo "# $skipped"
		TESTS=("${TESTS[-1]}") NAMES=("${NAMES[-1]}") LIMITS=("${LIMITS[-1]}")
	fi
	ktap_set_plan ${#TESTS[@]}
	for i in "${!TESTS[@]}"; do judge "$i"; done
	ktap_finished
}

# Afterwards: no peer, no module, whatever a failed test left. Each step whatever became of the
# one before.
cleanup() {
	local step status=0
	for step in remove_overlays unload nothing_left stop_peers unload_rproc; do
		($step) || status=1
	done
	return $status
}

check_deps() {
	local why='' tool
	[ "$(id -u)" -eq 0 ] || why="run as root"
	for tool in awk ip ping socat ss curl ethtool modprobe dmesg pgrep udhcpc; do
		command -v $tool >/dev/null || why="$tool is missing"
	done
	cksum -a crc32b </dev/null >/dev/null 2>&1 || why="cksum has no -a crc32b (coreutils 9.6)"
	[ -e "/sys/bus/platform/devices/$LINK" ] ||
		why="no virtio-hvl link in the device tree: boot with an overlay as README.rst says"
	modinfo virtio_hvl >/dev/null 2>&1 || why="no module virtio_hvl: README.rst says where it comes from"
	mountpoint -q /sys/kernel/debug || why="debugfs is not mounted"
	[ -e "$FIRMWARE_DIR/$FIRMWARE" ] ||
		why="no firmware $FIRMWARE_DIR/$FIRMWARE: README.rst says where it comes from"
	if [ -z "$why" ] && [ -z "${NO_RPROC-}" ]; then
		modprobe psci_rproc 2>/dev/null
		[ -n "$(rproc)" ] || why="no remote processor that psci_rproc runs"
	fi
	if [ -n "$why" ]; then
		ktap_skip_all "$why"
		exit $KSFT_SKIP_RC
	fi
}

# ---------------------------------------------------------------- the peer

# (To start a program takes an emulated core as long as all else of many a function here: what is called in
# each test is done by the shell.)

# Its platform device, where there are several: a pattern.
RPROC='*'

# rproc_name DIRECTORY: the name of its platform device in NAME, if that is one of psci_rproc's.
rproc_name() {
	local text=
	read -rd '' text <"$1/device/uevent" || true
	[[ $text == *OF_COMPATIBLE_0=virtio-hvl,psci-rproc* ]] || return 1
	NAME=${text#*OF_FULLNAME=}
	NAME=${NAME%%$'\n'*}
	NAME=${NAME##*/}
	[[ $NAME != *@* ]] || NAME=${NAME#*@}.${NAME%@*}
} 2>/dev/null

# The remoteproc directory of our core.
rproc() {
	local dir NAME
	for dir in /sys/class/remoteproc/remoteproc*; do
		# shellcheck disable=SC2053 # a pattern
		if rproc_name "$dir" && [[ $NAME == $RPROC ]]; then
			echo "$dir"
			return
		fi
	done
}
# What remoteproc has in debugfs.
rproc_debug() {
	local dir
	dir=$(rproc)
	echo "/sys/kernel/debug/remoteproc/${dir##*/}"
}
# What the firmware has logged.
trace() { cat "$(rproc_debug)/trace0"; }

peer_state() {
	local state=
	read -r state <"$(rproc)/state"
	echo "$state"
}
peer_is() { [ "$(peer_state)" = "$1" ]; }
# recovery enabled|disabled: whether a peer that crashes is started again.
recovery() { echo "$1" >"$(rproc_debug)/recovery"; }

# start_peer [FIRMWARE]
start_peer() {
	[ -e "$FIRMWARE_DIR/${1:-$FIRMWARE}" ] || die "no firmware ${1:-$FIRMWARE}"
	modprobe psci_rproc
	echo "${1:-$FIRMWARE}" >"$(rproc)/firmware"
	echo start >"$(rproc)/state"
	[ "$(peer_state)" = running ] || die "the peer is $(peer_state), not running"
}

stop_peer() {
	local dir
	dir=$(rproc)
	if [ -z "$dir" ] || [ "$(<"$dir/state")" = offline ]; then return 0; fi
	echo stop >"$dir/state"
}

# Of each link that there is.
stop_peers() {
	local dir NAME
	for dir in /sys/class/remoteproc/remoteproc*; do
		if rproc_name "$dir"; then RPROC=$NAME stop_peer; fi
	done
}

# patch_firmware NAME WORDS: a firmware hvl-NAME.elf with another command line.
patch_firmware() {
	local out=$FIRMWARE_DIR/hvl-$1.elf found=$TMP/offset.$FIRMWARE offset zeros
	[ -e "$found" ] || grep -abo 'HVL-CMDLINE:' "$FIRMWARE_DIR/$FIRMWARE" >"$found"
	offset=$(<"$found")
	[[ $offset =~ ^[0-9]+:HVL-CMDLINE:$ ]] || die "not one command line in $FIRMWARE, but: $offset"
	set -- "$1" "$2$UNCACHED"
	[ $((12 + ${#2})) -lt 256 ] || die "command line too long: $2"
	cp "$FIRMWARE_DIR/$FIRMWARE" "$out"
	printf -v zeros '%*s' $((256 - 12 - ${#2})) ''
	# shellcheck disable=SC2059 # zeros, as printf writes them
	{
		printf 'HVL-CMDLINE:%s' "$2"
		printf "${zeros// /\\0}"
	} | dd of="$out" bs=256 iflag=fullblock oflag=seek_bytes seek="${offset%%:*}" conv=notrunc status=none
	echo "hvl-$1.elf"
}

# ---------------------------------------------------------------- the driver

# The platform device of the machine's own link (those of the tests have no address).
LINK=
for LINK in /sys/bus/platform/devices/*.virtio-hvl; do
	LINK=$(basename "$LINK")
	break
done

# A region without dma-coherent is mapped without caches, by the firmware as well.
UNCACHED=
if [ -e "/sys/bus/platform/devices/$LINK/of_node/compatible" ] &&
	[ ! -e "/sys/bus/platform/devices/$LINK/of_node/dma-coherent" ]; then
	UNCACHED=" coherent=no"
	if [ -e "$FIRMWARE_DIR/$FIRMWARE" ]; then FIRMWARE=$(patch_firmware uncached "devices=net,vsock"); fi
fi

loaded() { [ -d /sys/module/virtio_hvl ]; }
load() {
	modprobe virtio_hvl
	# Somebody outside counts instructions of the module (tools/bench/masked), of so many bytes.
	[ -z "${HVL_RANGE-}" ] || tell_range "$(</sys/module/virtio_hvl/sections/.text)"
}
tell_range() { /bench/load range "$1" "$(printf 0x%x $(($1 + HVL_RANGE)))"; }
unload() { if loaded; then rmmod virtio_hvl; fi; }
# Sockets that were closed may take some seconds to go, and keep the module until then.
vsock_unused() { [ "$(</sys/module/vmw_vsock_virtio_transport/refcnt)" -eq 0 ]; }
unload_vsock() {
	wait_for "the last socket to be gone" vsock_unused
	rmmod vmw_vsock_virtio_transport
}
unload_rproc() { if [ -d /sys/module/psci_rproc ]; then rmmod psci_rproc; fi; }

debug() { cat "$DEBUGFS/$LINK/$1"; }
# (Asked again and again, so by the shell alone.)
link_is() {
	local text
	text=$(<"$DEBUGFS/$LINK/status") && [[ $text =~ (^|$'\n')state:[[:space:]]*"$1"($'\n'|$) ]]
} 2>/dev/null
epoch() { debug status | sed -n 's/^epoch:[[:space:]]*//p'; }

# Whose devices: a pattern for their paths.
DEVICES='*virtio-hvl*'

# virtio_devices: the links' devices in /sys/bus/virtio/devices, one a line.
virtio_devices() {
	local path here=$PWD
	for path in /sys/bus/virtio/devices/*; do
		# shellcheck disable=SC2053 # a pattern
		if cd -P "$path" 2>/dev/null && [[ $PWD == $DEVICES ]]; then echo "$path"; fi
	done
	cd "$here" || true
}

# device_of ID: the one with this virtio device type (net 1, vsock 19).
device_of() {
	local dev id
	for dev in $(virtio_devices); do
		if read -r id <"$dev/device" && [ $((id)) -eq "$1" ]; then
			echo "$dev"
			return
		fi
	done
	return 1
}

driver_of() { basename "$(readlink "$1/driver")" 2>/dev/null; }
bound() {
	local dev
	dev=$(device_of "$1") && [ -e "$dev/driver" ]
}
no_devices() { [ -z "$(virtio_devices)" ]; }

netdev() {
	local dev path
	dev=$(device_of 1) || return 1
	for path in "$dev"/net/*; do
		if [ -e "$path" ]; then echo "${path##*/}"; fi
	done
}
has_netdev() { [ -n "$(netdev)" ]; }

net_up() {
	local dev
	wait_for "a network interface" has_netdev
	dev=$(netdev)
	printf '%s\n' "addr flush dev $dev" "addr add $OUR_IP/24 dev $dev" "link set $dev up" | ip -batch -
}

pings() { ping -q -c 1 -W 1 $PEER_IP >/dev/null; }

# pings_answered COUNT [OPTION...]: each of so many. By itself ping waits for the last one no
# longer than the others took, twice; so it goes on here until it has got as many answers.
pings_answered() {
	local count=$1 log=$TMP/pings.$BASHPID
	shift
	ping -n -c "$count" -w "$PATIENCE" "$@" $PEER_IP >"$log" || true
	tail -n 2 "$log"
	awk -v count="$count" '
		match($0, /icmp_seq=[0-9]+/) { got[substr($0, RSTART + 9, RLENGTH - 9) + 0] = 1 }
		END {
			for (i = 1; i <= count; i++) if (!(i in got)) { lost++; text = text " " i }
			if (lost) { print lost " of " count " pings without an answer:" text; exit 1 }
		}' "$log"
}

# usable: the devices of the standard firmware work.
usable() {
	wait_for "the link to be up" link_is up
	wait_for "virtio_net to be bound" bound 1
	wait_for "vsock to be bound" bound 19
	net_up
	wait_for "an answer to a ping" pings
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ] ||
		die "vsock echo gives nothing or another thing back"
}

# From whatever a test left to: drivers of the devices there, module and peer gone.
fresh() {
	remove_overlays
	unload
	stop_peer
	modprobe virtio_net
	modprobe vmw_vsock_virtio_transport
	no_devices || die "devices are left: $(virtio_devices)"
}

# A running link, made afresh only if the one before is not in order.
up() {
	if loaded && [ "$(peer_state)" = running ] && [ "$(cat "$(rproc)/firmware")" = "$FIRMWARE" ] &&
		link_is up && bound 1 && bound 19; then
		net_up
		wait_for "an answer to a ping" pings
		return
	fi
	fresh
	start_peer
	load
	usable
}

# gone: rmmod leaves nothing behind.
nothing_left() {
	no_devices || die "virtio devices are left: $(virtio_devices)"
	[ ! -e "$DEBUGFS" ] || die "debugfs files are left: $(ls -R "$DEBUGFS")"
	! grep -E 'virtio[-_]hvl' /proc/interrupts || die "an interrupt is left"
	[ ! -d /sys/module/virtio_hvl ] || die "the module is still there"
}

# ---------------------------------------------------------------- overlays at run time

# apply_overlay NAME: overlays/NAME.dtbo, by the test module hvl_overlay.
apply_overlay() {
	local file=$HERE/overlays/$1.dtbo
	modprobe hvl_overlay || skip "no module hvl_overlay: README.rst says where it comes from"
	[ -r "$file" ] || die "no $file: run make"
	# The kernel says so of each property that an overlay changes: it cannot free it.
	echo 'OF: overlay: WARNING: memory leak will occur if overlay removed' >>"$EXPECTED_TROUBLE"
	# By way of the firmware loader, as a kernel that checks what it reads expects it.
	cp "$file" "$FIRMWARE_DIR/hvl-test.dtbo"
	echo hvl-test.dtbo >/sys/kernel/debug/hvl_overlay/apply
}

remove_overlays() { if [ -d /sys/module/hvl_overlay ]; then rmmod hvl_overlay; fi; }
