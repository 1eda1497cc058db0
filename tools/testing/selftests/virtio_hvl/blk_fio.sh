#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# fio on the peer's disk under the stock virtio_blk: what it has written, with a checksum in each block, is what it
# reads, by several engines, jobs and sizes, with discards between, over a reload of the driver, and from
# another peer. And where it is not, fio fails.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Memory that is nobody's else, <address>+<size>.
DISK=${HVL_DISK:+disk=$HVL_DISK}
# Processes, how many MiB of the disk each has, and how often it goes over them.
JOBS=4
PART=$(by_tier 2 24)
LOOPS=$(by_tier 1 8)
# Bytes of the disk's blocks: a fifth of the requests are such.
BLOCK=512

# start WORDS: a peer with this command line, the driver, and the disk's name in DEV.
start() {
	command -v fio >/dev/null || skip "no fio: README.rst says where it comes from"
	[ -n "$DISK" ] || skip "the disk is small: set HVL_DISK"
	fresh
	modprobe virtio_blk || skip "no module virtio_blk"
	load
	another_peer "$1"
}
another_peer() {
	stop_peer
	start_peer "$(patch_firmware fio "$1 $DISK")"
	attached
}
attached() {
	wait_for "the link to be up" link_is up
	wait_for "a disk" has_disk
	wait_for "/dev/$DEV" test -b "/dev/$DEV"
}
has_disk() { DEV=$(ls "$(device_of 2)/block" 2>/dev/null) && [ -n "$DEV" ]; }
end() {
	in_time 60 rmmod virtio_hvl
	nothing_left
	stop_peer
}

# on_disk OPTION... --name=NAME OPTION...: jobs of fio, each by as many processes as JOBS says, on parts of the disk of
# their own, past the caches, with a checksum in each block. FIO_READ and FIO_WRITTEN: how many KiB were read and
# written. (To start fio takes an emulated core a second: as much as can be is told to one.)
on_disk() {
	local status=0
	FIO_LINES=$(fio --filename="/dev/$DEV" --direct=1 --numjobs=$JOBS --size="${PART}m" --offset_increment="${PART}m" \
		--bssplit=$BLOCK/20:8k/30:16k/30:64k/10:128k/10 --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
		--minimal --group_reporting "$@") || status=$?
	echo "$FIO_LINES"
	[ $status -eq 0 ] || return 1
	# Each group has a line.
	FIO_READ=$(awk -F';' '{ sum += $6 } END { print sum + 0 }' <<<"$FIO_LINES")
	FIO_WRITTEN=$(awk -F';' '{ sum += $47 } END { print sum + 0 }' <<<"$FIO_LINES")
}
fails() { if "$@"; then die "it should fail: $*"; fi; }

# Read after all is written; while it is; and with each block discarded before it is written. (That with one request
# at a time: with more, fio does not wait for the discard before it writes, and fails on any disk.)
verified() {
	start "devices=blk blk-queues=3"
	on_disk --loops="$LOOPS" --iodepth=16 \
		--name=after --rw=randwrite --ioengine=io_uring \
		--name=while --stonewall --new_group --rw=randrw --verify_backlog=32 --ioengine=libaio \
		--name=discard --stonewall --new_group --rw=randtrimwrite --ioengine=psync
	say "$((FIO_WRITTEN / 1024)) MiB written, $((FIO_READ / 1024)) MiB read"
	# All of it by the first, and some by each of the others.
	[ "$(awk -F';' '$6 && $47' <<<"$FIO_LINES" | wc -l)" -eq 3 ]
	[ "$FIO_WRITTEN" -gt $((JOBS * PART * 1024)) ]
	[ "$FIO_READ" -ge "$FIO_WRITTEN" ]
	end
}

# The same for who writes and who reads.
WRITES=(--name=hvl --rw=randwrite --ioengine=io_uring --iodepth=16)
# still_there: what WRITES has written is read, all of it.
still_there() {
	on_disk "${WRITES[@]}" --verify_only && [ "$FIO_READ" -eq $((JOBS * PART * 1024)) ]
}

# flip: another bit in the last job's part.
flip() {
	local block=$TMP/block at=$(((JOBS * PART << 20) / BLOCK - 30)) byte
	dd if="/dev/$DEV" of="$block" bs=$BLOCK count=1 skip=$at iflag=direct status=none
	byte=$(od -An -tu1 -j $((BLOCK - 1)) -N 1 "$block")
	printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
		dd of="$block" bs=1 seek=$((BLOCK - 1)) conv=notrunc status=none
	dd if="$block" of="/dev/$DEV" bs=$BLOCK count=1 seek=$at oflag=direct conv=nocreat status=none
}

# What is on the disk is there after a reload of the driver, and for another peer. Where one bit is another, that is seen.
kept() {
	local BLOCK=4096
	start "devices=blk blk-queues=3 blk-block=$BLOCK"
	on_disk "${WRITES[@]}" --do_verify=0
	[ "$FIO_WRITTEN" -eq $((JOBS * PART * 1024)) ]
	in_time 60 rmmod virtio_hvl
	nothing_left
	load
	attached
	still_there
	flip
	fails still_there
	flip
	another_peer "devices=blk blk-queues=1 blk-block=$BLOCK"
	still_there
	end
}

# The peer says of what is read that no byte of it was written.
lied_to() {
	start "devices=vsock,blk fault=blk-empty"
	fails on_disk "${WRITES[@]}"
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	end
}

add "written and read, and discarded between" "$(by_tier 180 3600)" verified
add "after a reload, for another peer, and not where a bit has changed" "$(by_tier 180 600)" kept
add "a peer that has read nothing" 120 lied_to
run_tests
