#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer's block devices under the stock virtio_blk.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Memory that is nobody's else, <address>+<size>; without it disks are small.
DISK=${HVL_DISK:+disk=$HVL_DISK}
# How many files a file system gets; how many processes write at once, and 64 KiB for each.
FILES=${HVL_LONG:+20000}
WRITERS=4
PART=${HVL_LONG:+128}
MOUNT=$TMP/mount

# start WORDS: a peer with this command line, the driver, and the first disk's name in DEV.
start() {
	fresh
	modprobe virtio_blk || skip "no module virtio_blk"
	load
	start_peer "$(patch_firmware blk "$1 $DISK")"
	wait_for "the link to be up" link_is up
	wait_for "virtio_blk to be bound" bound 2
	disk
}
name() { ls "$(device_of 2)/block" 2>/dev/null; }
has_name() { [ -n "$(name)" ]; }
disk() {
	wait_for "a disk" has_name
	DEV=$(name)
	wait_for "/dev/$DEV" test -b "/dev/$DEV"
}
fails() { if "$@" 2>/dev/null; then die "it should fail: $*"; fi; }
queue() { cat "/sys/block/$DEV/queue/$1"; }
# So many bytes, no two pieces of 8 alike.
numbers() { awk -v n=$(($1 / 8)) 'BEGIN { for (i = 0; i < n; i++) printf "%07d\n", i }'; }
# In sectors.
size() { cat "/sys/block/$DEV/size"; }

end() {
	in_time 60 rmmod virtio_hvl
	nothing_left
	stop_peer
}

# What the peer says of queue $1 of its first disk: chains that it has served.
chains() {
	socat -u -t "$PATIENCE" VSOCK-CONNECT:$PEER_CID:21 - | awk -v queue="$1:" '
		/^blk/ { own = 1 }
		own && $1 == "queue" && $2 == queue { print $6; exit }'
}

as_described() {
	start "devices=vsock,blk blk-queues=3"
	[ "$(cat "/sys/block/$DEV/serial")" = hvl-disk-01 ]
	[ "$(size)" -ge 128 ]
	[ "$(queue logical_block_size)" -eq 512 ]
	[ "$(queue write_cache)" = "write back" ]
	# Pages that do not lie together are one request all the same.
	[ "$(queue max_segments)" -eq 16 ]
	[ "$(queue max_segment_size)" -eq 4096 ]
	[ "$(queue discard_max_bytes)" -gt 0 ]
	[ "$(queue write_zeroes_max_bytes)" -gt 0 ]
	[ "$(cat "/sys/block/$DEV/ro")" -eq 0 ]
}

# All there can be, and more than one in use: one may be that of the peer's CPU alone.
queues() {
	local want dir queue
	disk
	want=$(nproc)
	[ "$want" -le 3 ] || want=3
	set -- "/sys/block/$DEV/mq"/*
	[ $# -eq "$want" ]
	# All but the peer's; the first one has no such file.
	for dir in /sys/devices/system/cpu/cpu[0-9]*; do
		if [ "$(cat "$dir/online" 2>/dev/null || echo 1)" = 1 ]; then
			taskset -c "${dir##*/cpu}" \
				dd if="/dev/$DEV" of=/dev/null bs=4096 count=8 iflag=direct status=none
		fi
	done
	for queue in $(seq 0 2); do
		[ "$queue" -ge "$want" ] || echo "queue $queue: $(chains "$queue") chains"
	done | awk '$3 > 0 { used++ } { print } END { exit used < NR - 1 || !used }'
}

# Each of several processes has a part of its own, and writes it in blocks of several sizes.
written_is_read() {
	local part i pids=()
	disk
	part=$((($(size) * 512 / WRITERS) >> 16))
	[ "$part" -le "${PART:-8}" ] || part=${PART:-8}
	numbers $((part << 16)) >"$TMP/part"
	for i in $(seq 0 $((WRITERS - 1))); do
		(
			for bs in 65536 4096 131072; do
				dd if="$TMP/part" of="/dev/$DEV" bs=$bs seek=$((i * (part << 16)))B \
					oflag=direct iflag=fullblock conv=notrunc status=none
				dd if="/dev/$DEV" of="$TMP/got.$i" bs=$bs skip=$((i * (part << 16)))B \
					count=$((part << 16))B iflag=direct status=none
				cmp "$TMP/part" "$TMP/got.$i"
			done
		) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || die "a writer has failed"; done
	rm "$TMP"/got.*
}

zeroed() {
	local how sum
	disk
	[ "$(size)" -ge 2048 ] || skip "the disk is small: set HVL_DISK"
	numbers 1048576 >"$TMP/data"
	for how in --force -z; do
		dd if="$TMP/data" of="/dev/$DEV" bs=64k oflag=direct status=none count=15
		sum=$(head -c 65536 "/dev/$DEV" | sum)
		blkdiscard "$how" -o 65536 -l 524288 "/dev/$DEV"
		[ "$(head -c 65536 "/dev/$DEV" | sum)" = "$sum" ] || die "too much is zero"
		cmp -n 524288 -i 65536:0 "/dev/$DEV" /dev/zero
		# and behind it nothing is
		fails cmp -s -n 4096 -i 589824:0 "/dev/$DEV" /dev/zero
	done
}

file_system() {
	local count=${FILES:-400} i
	[ -n "$DISK" ] || skip "the disk is small: set HVL_DISK"
	command -v mkfs.ext4 >/dev/null || skip "no mkfs.ext4"
	modprobe ext4 || skip "no ext4"
	disk
	mkfs.ext4 -q -F "/dev/$DEV"
	mkdir -p "$MOUNT"
	mount "/dev/$DEV" "$MOUNT"
	for ((i = 0; i < count; i++)); do
		((i % 200)) || mkdir "$MOUNT/$((i / 200))"
		printf '%0*d' $((1 + i * 37 % 4000)) $i >"$MOUNT/$((i / 200))/$i"
	done
	(cd "$MOUNT" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$TMP/sums"
	[ "$(wc -l <"$TMP/sums")" -eq "$count" ]
	umount "$MOUNT"
	fsck.ext4 -fn "/dev/$DEV"
	mount "/dev/$DEV" "$MOUNT"
	(cd "$MOUNT" && sha256sum --quiet -c "$TMP/sums")
	rm -r "$MOUNT/0"
	sync
	fstrim "$MOUNT"
	umount "$MOUNT"
	fsck.ext4 -fn "/dev/$DEV"
}

beyond_the_end() {
	disk
	fails dd if=/dev/zero of="/dev/$DEV" bs=512 count=1 seek="$(size)" oflag=direct
	# The last one is there.
	dd if=/dev/zero of="/dev/$DEV" bs=512 count=1 seek=$(($(size) - 1)) oflag=direct status=none
}

another_peer() {
	numbers 65536 >"$TMP/part"
	dd if="$TMP/part" of="/dev/$(name)" bs=64k oflag=direct status=none
	stop_peer
	wait_for "no disk" no_devices
	start_peer "$(patch_firmware blk "devices=vsock,blk blk-queues=3 $DISK")"
	wait_for "the link to be up" link_is up
	disk
	# Reserved memory keeps what it had; the program's own does not.
	[ -z "$DISK" ] || cmp -n 65536 "$TMP/part" "/dev/$DEV"
	written_is_read
	end
}

blocks_of_4096() {
	start "devices=blk blk-block=4096 blk-queues=1"
	[ "$(queue logical_block_size)" -eq 4096 ]
	fails dd if=/dev/zero of="/dev/$DEV" bs=512 count=1 oflag=direct
	written_is_read
	end
}

read_only() {
	start "devices=blk blk-ro=yes"
	[ "$(cat "/sys/block/$DEV/ro")" -eq 1 ]
	fails dd if=/dev/zero of="/dev/$DEV" bs=4096 count=1 oflag=direct
	dd if="/dev/$DEV" of=/dev/null bs=64k iflag=direct status=none
	end
}

# load_disk: processes that read and write past the caches, in LOAD, until they get an error.
load_disk() {
	local bs
	LOAD=()
	for bs in 4096 65536; do
		(while dd if=/dev/zero of="/dev/$DEV" bs=$bs count=64 oflag=direct conv=nocreat status=none; do :; done) \
			2>/dev/null &
		LOAD+=($!)
		(while dd if="/dev/$DEV" of=/dev/null bs=$bs count=64 iflag=direct status=none; do :; done) 2>/dev/null &
		LOAD+=($!)
	done
}
goes_on() {
	local pid
	sleep 1
	for pid in "${LOAD[@]}"; do kill -0 "$pid" || die "an error before there is a reason for one"; done
}
# Whoever waits for the disk gets an error.
load_ends() {
	local pid
	for pid in "${LOAD[@]}"; do in_time 30 ended "$pid"; done
}
ended() { while [ -e "/proc/$1" ]; do nap 0.05; done; }
gone() { [ ! -e "/sys/block/$DEV" ]; }

# back WORDS: another peer has a disk at once.
back() {
	load_ends
	wait_for "the disk to be gone" gone
	wait_for "no device" no_devices
	stop_peer
	start_peer "$(patch_firmware blk "devices=vsock,blk $DISK")"
	wait_for "the link to be up" link_is up
	disk
	written_is_read
	end
}

stopped() {
	start "devices=vsock,blk"
	load_disk
	goes_on
	stop_peer
	back
}

# As after a power failure: nobody says a word, and the heartbeat is missed.
vanished() {
	start "devices=blk fault=vanish"
	# Or it is there again before it is missed.
	recovery disabled
	load_disk
	expect_log "the peer's heartbeat stopped, removing its 1 devices"
	back
	recovery enabled
}

# A lie is the end of the disk, which stays there until the driver goes: all that is asked of it is an error.
lie() {
	local i
	start "devices=blk,vsock fault=$1"
	load_disk
	expect_log 'device 0 .virtio type 2. failed: queue [0-9]: used'
	load_ends
	for i in 1 2 3 4 5; do
		in_time 30 fails dd if="/dev/$DEV" of=/dev/null bs=4096 count=1 iflag=direct
		in_time 30 fails dd if=/dev/zero of="/dev/$DEV" bs=65536 count=1 oflag=direct conv=nocreat
	done
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	end
}

# The table of partitions is waited for, until that is given up.
unserved() {
	start "devices=blk fault=unserved"
	sleep 30
	expect_log 'device 0 .virtio type 2. failed: its driver has waited for it for'
	in_time 30 fails dd if="/dev/$DEV" of=/dev/null bs=4096 count=1 iflag=direct
	end
}

# Deliberate faults: Linux goes on, and the disk is let go of.

# What it takes is asked for: no more segments, and none that Linux's block layer would warn of.
few_segments() {
	start "devices=vsock,blk blk-seg-max=2"
	[ "$(queue max_segments)" -eq 2 ] || die "$(queue max_segments) segments where the peer takes 2"
	numbers 65536 >"$TMP/part"
	dd if="$TMP/part" of="/dev/$DEV" bs=64k oflag=direct status=none
	dd if="/dev/$DEV" bs=64k count=1 iflag=direct status=none | cmp - "$TMP/part"
	end
	fresh
	load
	start_peer "$(patch_firmware blk "devices=vsock,blk blk-size-max=512 $DISK")"
	expect_log "$LINK: device 1 .virtio type 2. failed: the peer's size_max is 0x200, must be at least 0x1000"
	wait_for "vsock to be bound" bound 19
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	end
}

# Linux shifts by what the peer says of its physical blocks.
physical() {
	start "devices=vsock,blk blk-physical-exp=3"
	[ "$(queue physical_block_size)" -eq 4096 ]
	end
	start "devices=vsock,blk blk-physical-exp=40"
	expect_no_log "UBSAN"
	[ "$(queue physical_block_size)" -eq $((512 << 15)) ]
	dd if="/dev/$DEV" of=/dev/null bs=64k count=1 iflag=direct status=none
	end
}

status_of_its_own() {
	start "devices=vsock,blk fault=blk-status"
	fails dd if="/dev/$DEV" of=/dev/null bs=4096 count=1 iflag=direct
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	end
}

# Half, twice as much, nothing, absurdly much: what Linux asks for is inside of what there is, or fails.
capacity() {
	local i
	start "devices=vsock,blk fault=blk-capacity"
	for i in 1 2 3 4 5 6 7 8; do
		size
		dd if="/dev/$DEV" of=/dev/null bs=64k iflag=direct 2>/dev/null count=64 || true
		dd if=/dev/zero of="/dev/$DEV" bs=64k oflag=direct 2>/dev/null count=64 || true
		sleep 0.5
	done | sort | uniq -c
	[ "$(log_since | wc -l)" -lt 2000 ] || die "the log is flooded"
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
	end
}

add "a disk as the peer describes it" 120 as_described
add "several queues at work" 60 queues
add "what was written is read, by several at once" 180 written_is_read
add "discarded, and zeroed" 60 zeroed
add "a file system that is made, filled, checked" 600 file_system
add "beyond the end there is nothing" 30 beyond_the_end
add "another peer" 180 another_peer
add "blocks of 4096 bytes" 120 blocks_of_4096
add "a disk that is read-only" 120 read_only
add "a disk that takes few segments, or too small ones" 120 few_segments
add "physical blocks that are larger, or cannot be" 120 physical
add "a status that there is not" 120 status_of_its_own
add "a capacity that changes all the time" 180 capacity
add "a peer that stops with requests on their way" 120 stopped
add "a peer that vanishes with them" 120 vanished
add "a peer that lies of them" 120 lie lie-jump
if [ -n "${HVL_LONG:-}" ]; then
	add "a peer that serves none" 240 unserved
fi
run_tests
