#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A peer that attacks (samples/peer/device/src/adversary.rs): it overwrites what it may, in one short life after the
# other, while the drivers of all its devices are used. Linux goes on, answers, and says no more than it promises;
# afterwards an honest peer works.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# How many lives there are for each seed, and the seeds.
LIVES=${HVL_LIVES:-$(by_tier 12 60)}
read -ra SEEDS <<<"${HVL_SEEDS:-$(by_tier "1" "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20")}"
# Strategies and seeds that have once found something, and of the long tier all strategies.
FOUND=("anywhere 1")
if [ -n "${HVL_LONG:-}" ]; then FOUND+=("header 1" "windows 1" "rings 1" "answers 1" "content 1" "types 1" "storm 1"); fi
# More lines of the log in a minute there are not (driver.rst), and one that says so.
LINES_MOST=201
RPMSG=$HERE/rpmsg/$(uname -r)

goes_on() { [ ! -e "$TMP/enough" ]; }

# again PAUSE COMMAND...: it may fail, and it ends.
again() {
	local pause=$1
	shift
	while goes_on; do
		timeout 5 "$@" >/dev/null 2>&1 || true
		nap "$pause"
	done
}

use_net() {
	local dev
	while goes_on; do
		dev=$(netdev) || dev=
		if [ -n "$dev" ]; then
			printf '%s\n' "addr add $OUR_IP/24 dev $dev" "link set $dev up" | ip -force -batch - 2>/dev/null || true
			ping -q -f -c 50 -w 1 -s $((RANDOM % 3000)) $PEER_IP >/dev/null 2>&1 || true
			timeout 2 socat -u -b 65536 OPEN:/dev/zero,readbytes=1000000 TCP:$PEER_IP:9 2>/dev/null || true
			timeout 2 ethtool -S "$dev" >/dev/null 2>&1 || true
			[ $((RANDOM % 4)) -ne 0 ] || timeout 5 ip link set "$dev" down 2>/dev/null || true
		fi
		nap 0.1
	done
}

use_disk() {
	local disk
	while goes_on; do
		for disk in /dev/vd?; do
			[ -b "$disk" ] || continue
			timeout 5 dd if="$disk" of=/dev/null bs=16k count=4 iflag=direct 2>/dev/null || true
			timeout 5 dd if=/dev/zero of="$disk" bs=4k count=4 oflag=direct 2>/dev/null || true
		done
		nap 0.2
	done
}

use_console() {
	local port
	while goes_on; do
		for port in /dev/vport*p*; do
			[ -c "$port" ] || continue
			timeout 2 sh -c "echo help >$port; head -c 64 $port" >/dev/null 2>&1 || true
		done
		nap 0.2
	done
}

lives() { trace | sed -n 's/.*adversary: [0-9]* words in \([0-9]*\) lives.*/\1/p' | tail -n 1; }
words() { trace | sed -n 's/.*adversary: \([0-9]*\) words in .*/\1/p' | tail -n 1; }

# most_lines: of the module's, in any minute since it was loaded: it counts from then on.
most_lines() {
	log_since | awk -v from="$LOADED" 'found { print } index($0, from) { found = 1 }' | grep -F "$LINK" | sed -n 's/^\[ *\([0-9]*\)\..*/\1/p' |
		awk '{ at[NR] = $1; while (at[NR] - at[first + 1] >= 60) first++; if (NR - first > most) most = NR - first }
			END { print most + 0 }'
}

# attacked LIVES STRATEGY SEED...
attacked() {
	local most=$1 strategy=$2 seed job jobs begin took slowest count lines all=0
	shift 2
	for seed; do
		fresh
		rm -f "$TMP/enough"
		modprobe virtio_blk
		modprobe virtio_rng
		if [ -e "$RPMSG/virtio_rpmsg_bus.ko" ]; then
			for job in rpmsg_ns rpmsg_char rpmsg_ctrl rpmsg_tty virtio_rpmsg_bus; do
				[ -d /sys/module/$job ] || insmod "$RPMSG/$job.ko"
			done
		fi
		start_peer "$(patch_firmware adversary "devices=net,vsock,blk,console,rng,rpmsg net-queues=2 spin=0 adversary=$seed,$strategy")"
		LOADED="hvl-adversary $seed $RANDOM$RANDOM"
		echo "$LOADED" >/dev/kmsg
		load
		jobs=()
		use_net &
		jobs+=($!)
		use_disk &
		jobs+=($!)
		use_console &
		jobs+=($!)
		again 0.1 socat -u -b 4096 OPEN:/dev/zero,readbytes=300000 VSOCK-CONNECT:$PEER_CID:9 &
		jobs+=($!)
		again 0.1 sh -c "echo hello | socat -t 1 - VSOCK-CONNECT:$PEER_CID:7" &
		jobs+=($!)
		again 0.3 head -c 64 /dev/hwrng &
		jobs+=($!)
		slowest=0
		count=
		while [ "${count:-0}" -lt "$most" ]; do
			begin=${EPOCHREALTIME/./}
			in_time 30 /bin/true
			took=$(((${EPOCHREALTIME/./} - begin) / 1000))
			[ $took -le $slowest ] || slowest=$took
			debug status >/dev/null
			debug devices >/dev/null
			nap 0.5
			peer_is running || die "the peer is $(peer_state): $(trace | tail -n 5)"
			count=$(lives)
		done
		all=$((all + $(words)))
		[[ $strategy == content || $strategy == storm || $(words) -gt 100 ]] || die "it has overwritten $(words) words"
		touch "$TMP/enough"
		for job in "${jobs[@]}"; do wait "$job" || true; done
		lines=$(most_lines)
		say "$strategy, seed $seed: $count lives, $(words) words; a program took $slowest ms at most; $lines lines in a minute"
		[ "$lines" -le $LINES_MOST ] || die "$lines lines in the log in a minute"
		in_time 120 rmmod virtio_hvl
		nothing_left
		stop_peer
	done
	say "$strategy: $all words"
}

honest() {
	local job
	if [ -d /sys/module/virtio_rpmsg_bus ]; then
		for job in virtio_rpmsg_bus rpmsg_tty rpmsg_ctrl rpmsg_char rpmsg_ns; do rmmod "$job"; done
	fi
	fresh
	start_peer
	load
	usable
}

for attack in "${FOUND[@]}"; do
	read -ra words <<<"$attack"
	add "it attacks: $attack" 600 attacked 8 "${words[@]}"
done
add "it attacks, by all means" "$(by_tier 600 7200)" attacked "$LIVES" all "${SEEDS[@]}"
add "an honest peer works afterwards" 120 honest
run_tests
