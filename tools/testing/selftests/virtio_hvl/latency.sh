#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# How long it takes from the peer's program to one of Linux's, on an idle and on a loaded Linux, beside what
# Linux takes for its own timer (cyclictest): figures, and no verdict about them. And what decides about them: the
# names and the priorities of the threads that the link has.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Answers that are timed, and microseconds between them.
COUNT=$(by_tier 300 20000)
INTERVAL=2000
PRIORITY=80
WORKERS=2
# SPI 119, see make-overlays
UIO_INTID=151
RT=
if [ -e /sys/kernel/realtime ]; then RT=1; fi

# An interrupt of the peer's that is nobody's but a program's: in UIO, how that is called, if the tests' module is there.
direct_interrupt() {
	local dir name
	UIO=
	modinfo hvl_uio >/dev/null 2>&1 || return 0
	apply_overlay uio
	modprobe hvl_uio
	for dir in /sys/class/uio/uio*; do
		read -r name <"$dir/name"
		if [ "$name" = hvl_uio ]; then UIO=/dev/${dir##*/}; fi
	done
	[ -c "$UIO" ] || die "hvl_uio makes no device"
}

start() {
	if ! command -v cyclictest >/dev/null || [ ! -x "$HERE/latency" ]; then
		skip "no cyclictest or no latency: README.rst says where they come from"
	fi
	fresh
	direct_interrupt
	start_peer "$(patch_firmware latency "devices=vsock,net ${UIO:+stamp-irq=$UIO_INTID}")"
	load
	wait_for "vsock to be bound" bound 19
}
end() {
	unload
	nothing_left
	stop_peer
	modprobe -r hvl_uio 2>/dev/null || true
	remove_overlays
}

# timer: the same four figures of cyclictest, which sleeps and looks how late it wakes up.
timer() {
	cyclictest -q -m -p $PRIORITY -i $INTERVAL -l "$COUNT" -h 200000 2>/dev/null | awk '
		/^# (Min|Max) Latencies/ { at[$2] = $4 + 0 }
		/^[0-9]/ { sum += $2; count[n] = $2; us[n++] = $1 + 0 }
		END {
			for (i = 0; i < n; i++) {
				before += count[i]
				if (median == "" && 2 * before >= sum) median = us[i]
				if (tail == "" && 100 * before >= 99 * sum) tail = us[i]
			}
			printf "min %d median %d p99 %d max %d", at["Min"], median, tail, at["Max"]
			exit sum < 1
		}'
}

# from_peer WHAT OPTION...: figures in microseconds.
from_peer() {
	local what=$1 ours
	shift
	ours=$("$HERE/latency" -i $INTERVAL -p $PRIORITY "$@" "$COUNT")
	[[ $ours == "answers $COUNT "* ]] || die "it says: $ours"
	say "$what: $(cut -d" " -f3- <<<"$ours" |
		awk '{ for (i = 1; i <= NF; i++) printf "%s ", $i ~ /^[0-9]+$/ ? sprintf("%.1f", $i / 1000) : $i }')us"
}

# all WHEN: what comes by a socket, what the interrupt alone takes, and the timer.
all() {
	local theirs
	from_peer "$1: vsock"
	if [ -n "$UIO" ]; then from_peer "$1: interrupt" -u "$UIO"; fi
	theirs=$(timer)
	say "$1: timer $theirs us"
}

idle() {
	start
	say "the doorbell and back: $(debug status | sed -n 's/^link-test-ns: //p') ns"
	all idle
	end
}

busy() {
	local load status=0
	start
	stress-ng --quiet --cpu $WORKERS --switch 1 --fork 1 --timeout 1d >/dev/null 2>&1 &
	load=$!
	nap 1
	kill -0 $load || die "stress-ng did not start"
	# (Each takes much longer.)
	COUNT=$((COUNT / 5))
	all "loaded" || status=1
	kill $load || die "stress-ng has ended before"
	wait $load || true
	[ $status -eq 0 ]
	end
}

# threads NAME: the numbers of those with that name.
threads() {
	local dir name
	for dir in /proc/[0-9]*; do
		read -r name <"$dir/comm" || continue
		# shellcheck disable=SC2254 # it is a pattern
		case $name in $1) echo "${dir#/proc/}" ;; esac
	done 2>/dev/null
}

# They have names that say what they are, and priorities that can be set.
priorities() {
	local name pid
	start
	set -- virtio-hvl
	# (comm has 15 characters)
	if [ -n "$RT" ]; then set -- "$@" "irq/*-virtio-h*"; fi
	for name; do
		pid=$(threads "$name" | head -n 1)
		[ -n "$pid" ] || die "no thread is called $name: $(cat /proc/[0-9]*/comm | grep -i -E 'hvl|irq/' | tr '\n' ' ')"
		[ "$name" = virtio-hvl ] || chrt -p "$pid" | grep "priority: 50$"
		chrt -f -p 70 "$pid"
		chrt -p "$pid" | grep "priority: 70$"
	done
	[ "$("$HERE/latency" 20 | cut -d" " -f1,2)" = "answers 20" ]
	end
}

add "on an idle Linux" 120 idle
if [ -n "$RT" ] || [ -n "${HVL_LONG-}" ]; then add "on a loaded Linux" 300 busy; fi
add "threads have names and priorities" 60 priorities
run_tests
