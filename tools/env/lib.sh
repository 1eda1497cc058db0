# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the set-up scripts: where things are, and how a long step reports.

HVL_TOP=${HVL_TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)}
HVL_BUILD=$HVL_TOP/build
HVL_LOG=$HVL_BUILD/log
HVL_STAMP=$HVL_BUILD/stamp
# Which of build/kernel/: "current" is Debian's kernel for arm64, what its other flavours are for has
# another name (make-kernel). Files that are made of both have the name in theirs.
HVL_KERNEL=${HVL_KERNEL:-current}
# shellcheck disable=SC2034  # used by those that read this
HVL_SUFFIX=$([ "$HVL_KERNEL" = current ] || echo "-$HVL_KERNEL")
mkdir -p "$HVL_LOG" "$HVL_STAMP"

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# stamp_ok NAME HASH: was NAME finished with these very inputs? (NAME may be a path, of a
# stamp that goes when what it stands for is removed.)
stamp_file() { case $1 in /*) echo "$1" ;; *) echo "$HVL_STAMP/$1" ;; esac; }
stamp_ok() { [ "$(cat "$(stamp_file "$1")" 2>/dev/null)" = "$2" ]; }
stamp_set() {
	local file
	file=$(stamp_file "$1")
	mkdir -p "${file%/*}"
	printf '%s\n' "$2" >"$file.new" && mv "$file.new" "$file"
}
hash_of() { cat "$@" | sha256sum | cut -c1-32; }

# lock NAME: one of us at a time; a second one waits and then finds the work done. What
# we start holds the lock too, until it ends or we unlock.
declare -A HVL_LOCKS=()
lock() {
	local fd
	exec {fd}>"$HVL_STAMP/$1.lock"
	if ! flock -n "$fd"; then
		say "$1: waiting for another make that is at it"
		flock "$fd"
	fi
	HVL_LOCKS[$1]=$fd
}
unlock() {
	local fd=${HVL_LOCKS[$1]}
	flock -u "$fd"
	exec {fd}>&-
}

du_mb() { du -sm "$1" 2>/dev/null | cut -f1 || true; }

# log_new NAME: the log of that name starts empty; steps append to it.
log_new() { : >"$HVL_LOG/$1.log"; }

# step NAME WHAT HOWMUCH COMMAND...: run COMMAND with its output in the log of that
# name; every few seconds say how far it is (HOWMUCH is a function that prints it).
step() {
	local name=$1 what=$2 howmuch=$3 log=$HVL_LOG/$1.log t0=$SECONDS pid rc=0 every=15 n=0
	shift 3
	[ -t 1 ] && every=3
	{ date; printf '+ %s\n' "$*"; } >>"$log"
	say "$name: $what ..."
	# A process group of its own: when we are stopped, all of it is.
	set -m
	"$@" >>"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	# shellcheck disable=SC2064
	trap "kill -TERM -- -$pid 2>/dev/null; wait $pid 2>/dev/null; exit 130" INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.1
		n=$((n + 1))
		if [ $((n % (every * 10))) -eq 0 ]; then
			say "$name: ... $($howmuch), $((SECONDS - t0)) s"
		fi
	done
	wait "$pid" || rc=$?
	trap - INT TERM HUP
	if [ "$rc" -ne 0 ]; then
		say "$name: FAILED (status $rc); the end of its log:"
		tail -n 25 "$log" | sed 's/^/    /'
		say "$name: the whole log is $log"
		return "$rc"
	fi
	say "$name: $what: done, $($howmuch), $((SECONDS - t0)) s"
}
