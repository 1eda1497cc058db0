# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The clock of the tests: lib.sh reads this.

# A test that hangs is told from one that is slow by a clock that goes slower where the machine
# does: while a test runs, a piece of work is timed every second. Nothing is expected to take
# another time than on the machine on which the limits were set, but for that.

CLOCK=$TMP/clock
# Microseconds that the work takes there: QEMU emulates that machine, with nothing beside it.
QUIET=15000
# How many times longer a kernel takes that looks at each of its own steps: the work, which is not the kernel's,
# does not show it.
SLOWER=${HVL_SLOWER:-1}
# Seconds after which a test says that it is still there.
ALIVE=60

# nap SECONDS: to start a process that sleeps takes longer here than most waits last.
exec {NAP}<> <(:)
nap() { read -rt "$1" -u "$NAP" || true; }

work() {
	local i
	for ((i = 0; i < 200; i++)); do :; done
}

# clock: NOW is the time since the test began, in milliseconds; between tests that of the machine.
NOW=0
clock() {
	local text=
	if [ -e "$CLOCK" ]; then
		read -r text <"$CLOCK" || true
		[ -z "$text" ] || NOW=$((10#$text))
	else
		read -r text _ </proc/uptime
		NOW=$((10#${text/./} * 10 / SLOWER))
	fi
}

# keep_time LIMIT NAME: the clock goes for LIMIT seconds.
keep_time() {
	local ms=0 start last now took begin said=0
	# What the test itself keeps busy is no slower machine.
	chrt --fifo --pid 1 $BASHPID >/dev/null 2>&1 || true
	read -r start _ </proc/uptime
	start=$((10#${start/./}))
	last=$start
	while [ $((ms / 1000)) -lt "$1" ]; do
		nap 1
		begin=${EPOCHREALTIME/./}
		work
		took=$((${EPOCHREALTIME/./} - begin))
		[ $took -gt $QUIET ] || took=$QUIET
		read -r now _ </proc/uptime
		now=$((10#${now/./}))
		ms=$((ms + (now - last) * 10 * QUIET / took / SLOWER))
		last=$now
		# In place: who reads finds all of the old or of the new.
		printf '%09d\n' $ms 1<>"$CLOCK"
		if [ $(((last - start) / 100 / ALIVE)) -gt $said ]; then
			said=$(((last - start) / 100 / ALIVE))
			echo "# $2: still running after $(((last - start) / 100)) s, $((ms / 1000)) of $1 s by the tests' clock"
		fi
	done
}

# wait_for WHAT COMMAND...: until it succeeds, at most DEADLINE seconds.
wait_for() {
	local what=$1 end
	shift
	clock
	end=$((NOW + DEADLINE * 1000))
	until "$@"; do
		clock
		[ "$NOW" -lt "$end" ] || die "still not after $DEADLINE s: $what"
		nap 0.05
	done
}

# in_time SECONDS COMMAND...: it may fail, but it has to end.
in_time() {
	local limit=$1 pid end
	shift
	clock
	end=$((NOW + limit * 1000))
	"$@" &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		clock
		if [ "$NOW" -ge "$end" ]; then
			kill -KILL $pid
			die "no end after $limit s: $*"
		fi
		nap 0.1
	done
	wait $pid || true
}
