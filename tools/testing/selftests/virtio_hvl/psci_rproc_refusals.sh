#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# psci_rproc: firmware and nodes that are wrong are refused with a line that says why, and leave
# nothing behind. The files are testfw's (tools/testing/firmware).
# shellcheck source=psci_rproc_lib.sh
. "$(dirname "$0")/psci_rproc_lib.sh"

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

bad_rproc() { add "refused node: $1" 30 refused_node "$1" "$2" "$3"; }
# shellcheck source=psci_rproc_cases.sh
. "$HERE/psci_rproc_cases.sh"

run_tests
