# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What a kernel that looks after itself (make guest kernel=debug) has to be asked for: lib.sh reads this. What it
# says by itself is in its log. A kernel that has none of it passes.

KMEMLEAK=/sys/kernel/debug/kmemleak
LOCKDEP=/proc/lockdep_stats
DMA_API=/sys/kernel/debug/dma-api/error_count
# Seconds after which kmemleak takes for a leak what nothing points to.
LEAK_AGE=6

# Leaks of the kernel itself, by a function that stands in their backtrace, and why they are not ours: none.
KNOWN_LEAKS='^$'

tell_kmemleak() { echo "$1" >"$KMEMLEAK"; }

# no_leaks: when all of ours is unloaded, nothing is left of it. (What called it is not told from what did not by the
# name: of a module that is gone a backtrace has only addresses. So nothing at all may be left.)
no_leaks() {
	[ -w "$KMEMLEAK" ] || return 0
	# (It says in the log how many there are: judged here.)
	echo 'kmemleak: [0-9]+ new suspected memory leaks' >>"$EXPECTED_TROUBLE"
	nap "$LEAK_AGE"
	# What the first one finds has to look the same to the second.
	tell_kmemleak scan && tell_kmemleak scan || die "kmemleak has switched itself off"
	awk -v known="$KNOWN_LEAKS" '
		function told() { if (text != "" && text !~ known) printf "%s", text; text = "" }
		/^unreferenced object/ { told() }
		{ text = text $0 "\n" }
		END { told() }' "$KMEMLEAK" >"$TMP/leaks"
	# So that the next script does not answer for it.
	tell_kmemleak clear
	if [ -s "$TMP/leaks" ]; then
		head -n 60 "$TMP/leaks" >&2
		die "memory that nothing points to: $(grep -c '^unreferenced object' "$TMP/leaks") times"
	fi
}

# still_looking: lockdep, and who watches the DMA API, say nothing after their first report, whoever gave the reason.
still_looking() {
	if [ -r "$LOCKDEP" ] && ! grep -E '^ *debug_locks: +1$' "$LOCKDEP" >/dev/null; then
		die "lockdep has switched itself off: see its first report in the kernel's log"
	fi
	if [ -r "$DMA_API" ] && [ "$(<"$DMA_API")" != 0 ]; then
		die "the DMA API is watched no more: see the first report in the kernel's log"
	fi
}

# leave_well: the last test of each script.
leave_well() {
	local step status=0
	for step in cleanup no_leaks still_looking; do
		($step) || status=1
	done
	return $status
}
