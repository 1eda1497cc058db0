#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Virtqueues of each kind and with each feature that the wire has: exactly those are agreed on that the
# peer offers, and the stock drivers work with them. In the long form each alone, each missing, all and
# none; in the short one any two of them, and of what they are not, at least once together.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

FEATURES=(indirect in-order event-index notification-data)

page() { curl -sS -m "$DEADLINE" http://$PEER_IP/; }

# without KIND FEATURE...: the words by which the peer offers these, and nothing else.
without() {
	local feature list=
	[ "$1" = packed ] || list=,packed
	for feature in "${FEATURES[@]}"; do
		[[ " ${*:2} " == *" $feature "* ]] || list+=,$feature
	done
	[ -z "$list" ] || echo "without=${list#,}"
}

# bits KIND FEATURE...: the numbers of VIRTIO 6.
bits() {
	local word bits=0
	for word in "$@"; do
		case $word in
		split) ;;
		packed) bits=$((bits | 1 << 34)) ;;
		indirect) bits=$((bits | 1 << 28)) ;;
		in-order) bits=$((bits | 1 << 35)) ;;
		event-index) bits=$((bits | 1 << 29)) ;;
		notification-data) bits=$((bits | 1 << 38)) ;;
		*) die "no such feature: $word" ;;
		esac
	done
	echo $bits
}

# agreed KIND FEATURE...: Linux and the peer say so, of each device.
agreed() {
	local all said features words=$1
	all=$(bits packed "${FEATURES[@]}")
	for feature in "${FEATURES[@]}"; do
		if [[ " ${*:2} " == *" $feature "* ]]; then words+=,$feature; fi
	done
	debug devices | sed -n 's/.* ring-features \([^ ]*\).*/\1/p' >"$TMP/linux"
	[ "$(wc -l <"$TMP/linux")" -eq 2 ]
	! grep -vx "$words" "$TMP/linux" || die "Linux says otherwise: it should be $words"
	page | sed -n 's/^[a-z]*: status 0x[0-9a-f]*, features \(0x[0-9a-f]*\),.*/\1/p' >"$TMP/peer"
	[ "$(wc -l <"$TMP/peer")" -eq 2 ]
	while read -r said; do
		features=$((said & all))
		[ "$features" -eq "$(bits "$@")" ] || die "the peer says $said: it should be $words"
	done <"$TMP/peer"
}

# Whether the last notification of some queue said more than which queue it is of.
notified_more() { page | grep -E 'last-kick 0x[0-9a-f]+[0-9a-f]{4}$' >/dev/null; }

traffic() {
	pings_answered 50 -i 0.002
	pings_answered 10 -i 0.002 -s 9000
	echoed TCP:$PEER_IP:7 2
	echoed VSOCK-CONNECT:$PEER_CID:7 2
	[ "$(page | sed -n 's/^violations: //p')" = 0 ] || die "the peer counts violations"
	! debug devices | grep ' failed$' || die "a device has failed"
}

# works WORDS KIND FEATURE...
works() {
	local firmware
	firmware=$(patch_firmware rings "$1 $(without "${@:2}")")
	shift
	fresh
	start_peer "$firmware"
	load
	usable
	agreed "$@"
	traffic
	if [[ " $* " == *" notification-data "* ]]; then
		wait_for "a notification with data" notified_more
	else
		! notified_more || die "a notification has data"
	fi
}

# Packed rings may have any size, and so wrap anywhere; Linux's private ones cannot.
odd_sizes() { # SIZE...
	local size
	for size; do
		works "queue=$size" packed "${FEATURES[@]}"
		debug devices | awk -v most=$size '
			/^  queue/ { for (i = 1; i < NF; i++) if ($i == "size") print $(i + 1) }' |
			grep -x "$size" >/dev/null || die "no queue has $size entries: $(debug devices)"
	done
	[ -z "${HVL_LONG-}" ] || works "queue=33" packed
}

# in_size KIND SIZE...: rings that are smaller than what Linux's drivers take for granted. Both devices
# work, but that sockets are refused by a line where 64 KiB never fit, and nothing hangs.
in_size() {
	local kind=$1 size least firmware without=
	shift
	[ "$kind" = packed ] || without=,packed
	for size; do
		echo "$kind, $size entries"
		least=4
		[ "$kind" = split ] || least=3
		firmware=$(patch_firmware rings "queue=$size without=notification-data$without")
		fresh
		start_peer "$firmware"
		load
		wait_for "the link to be up" link_is up
		wait_for "virtio_net to be bound" bound 1
		net_up
		wait_for "an answer to a ping" pings
		pings_answered 20 -i 0.002 -s 1400
		echoed TCP:$PEER_IP:7 1
		bytes_of 1048576 TCP:$PEER_IP:19 | cmp - <(chargen_data 1048576)
		if [ "$size" -ge $least ]; then
			wait_for "vsock to be bound" bound 19
			echoed VSOCK-CONNECT:$PEER_CID:7 1
			bytes_of 1048576 VSOCK-CONNECT:$PEER_CID:19 | cmp - <(chargen_data 1048576)
			data 1 | socat -u -b 1048576 - VSOCK-CONNECT:$PEER_CID:9
			! debug devices | grep ' failed$' || die "a device has failed"
		else
			expect_log "$LINK: device 1 .virtio type 19. failed: queue 1: the peer's QueueSizeMax is $size: it must be at least $least"
			! bound 19 || die "vsock took a queue that is too small"
		fi
		wait_for "an answer to a ping" pings
		log_mark
	done
}

# ring_sizes RX TX: what the peer was told that the network device's queues have.
ring_sizes() {
	debug devices | awk -v sizes="$1 $2" '
		/^[^ ]/ { own = / type 1 / }
		own && /^  queue/ { for (i = 1; i < NF; i++) if ($i == "size") got = got " " $(i + 1) }
		END { exit got != " " sizes }' || die "the rings have not $1 and $2 entries: $(debug devices)"
}

# A queue is reset and set up again while the device runs: the peer is told how small it is, so that it does not wait
# for more buffers than Linux posts.
resized() { # KIND FEATURE...
	local dev
	works "" "$@"
	dev=$(netdev)
	ethtool -G "$dev" rx 64 tx 32
	ring_sizes 64 32
	traffic
	# Fewer than a frame of 64 KiB takes.
	ethtool -G "$dev" rx 32 tx 32
	traffic
	ethtool -G "$dev" rx 128 tx 256
	traffic
}

if [ -n "${HVL_LONG-}" ]; then
	for kind in split packed; do
		add "$kind, nothing else" 60 works "" $kind
		for feature in "${FEATURES[@]}"; do
			add "$kind, $feature alone" 60 works "" $kind "$feature"
		done
		for feature in "${FEATURES[@]}"; do
			all=" ${FEATURES[*]} "
			read -ra rest <<<"${all/ $feature / }"
			add "$kind, all but $feature" 60 works "" $kind "${rest[@]}"
		done
		add "$kind, all" 60 works "" $kind "${FEATURES[@]}"
		add "$kind, queues are reset while they are used" 90 resized $kind "${FEATURES[@]}"
	done
	add "packed, sizes that are no power of two" 120 odd_sizes 37 100
	add "split, from 1 entry to 32" 240 in_size split 1 2 4 8 16 32
	add "packed, from 1 entry to 19" 240 in_size packed 1 2 3 7 16 19
else
	add "split, nothing else" 60 works "" split
	add "split, in-order and notification-data" 60 works "" split in-order notification-data
	add "split, all but in-order; queues are reset while they are used" 90 \
		resized split indirect event-index notification-data
	add "packed, indirect" 60 works "" packed indirect
	add "packed, in-order and event-index; queues are reset while they are used" 90 \
		resized packed in-order event-index
	add "packed, all, sizes that are no power of two" 120 odd_sizes 37
	add "split, 2 entries and 16" 120 in_size split 2 16
	add "packed, 2 entries and 7" 120 in_size packed 2 7
fi
run_tests
