#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The peer's console under the stock virtio_console: a shell on a terminal, a port that echoes; and a console
# that lies in its control messages.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# MiB through the port, each way.
BULK=$(by_tier 2 64)
SIZE="40 120"
# How often the port goes while it is read.
GONE=$(by_tier 6 200)

# start WORDS: a peer with this command line, and the driver.
start() {
	fresh
	load
	start_peer "$(patch_firmware console "devices=vsock,console $1")"
	wait_for "the link to be up" link_is up
}
console() {
	start "$1"
	wait_for "virtio_console to be bound" bound 3
	wait_for "a terminal" terminal
	wait_for "a port with a name" port
}
end() {
	in_time 60 rmmod virtio_hvl
	nothing_left
	stop_peer
}
vsock_works() {
	wait_for "vsock to be bound" bound 19
	[ "$(echo hello | socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:7)" = hello ]
}

# The terminal, in TTY: all of this kind but those with a device refuse to be opened.
terminal() {
	for TTY in /dev/hvc*; do
		if (: <"$TTY") 2>/dev/null; then return; fi
	done
	return 1
}

no_port() { ! port; }

# ask COMMAND: what the shell answers. Lines before and after it tell where it begins and ends; what came before
# may be no whole line.
ask() {
	local mark=$RANDOM$RANDOM line said=
	terminal
	exec 3<>"$TTY"
	stty -F "$TTY" raw -echo
	printf '\necho begin-%s\n%s\necho end-%s\n' $mark "$1" $mark >&3
	while IFS= read -r -t "$PATIENCE" line <&3; do
		case $line in
		" begin-$mark") said=1 ;;
		" end-$mark") break ;;
		*) [ -z "$said" ] || echo "${line# }" ;;
		esac
	done
	exec 3>&-
	[ "$line" = " end-$mark" ] || die "no end of the answer to: $1"
}

found() {
	console ""
	[ "$(driver_of "$(device_of 3)")" = virtio_console ]
	# Two ports, of which one has a name, and no other one is open.
	[ "$(find /sys/class/virtio-ports -name 'vport*' | wc -l)" -eq 2 ]
	[ "$(debug devices | grep -c 'type 3 .*failed')" -eq 0 ]
}

shell() {
	ask help >"$TMP/help"
	grep -q '^reset-counters ' "$TMP/help"
	ask link | grep '^virtio-hvl peer '
	ask devices | tee /dev/stderr | grep '^1 console: status 0xf, '
	[ "$(ask "queues 0" | wc -l)" -eq 3 ]
	[ "$(ask "queues 1" | wc -l)" -eq 6 ]
	ask log | grep 'link: ready'
	ask stats | grep '^violations: 0$'
	[ "$(ask "echo hello, peer")" = "hello, peer" ]
	[ "$(ask nonsense)" = "no such command: try help" ]
	# Longer than any command, and as much at once as the terminal takes.
	[ "$(ask "$(printf '%03000d' 0)")" = "no command is as long as that" ]
}

# Chains of the terminal's output queue since the counters began.
chains() { ask "queues 1" | awk '$4 == "1:" { print $8 }'; }

counters() {
	local before after
	for _ in 1 2 3 4; do ask "echo x" >/dev/null; done
	before=$(chains)
	[ "$(ask reset-counters)" = "done" ]
	after=$(chains)
	echo "$before chains, then $after"
	[ "$before" -ge 5 ]
	[ "$after" -lt "$before" ]
}

# A terminal that nobody has told otherwise sends back what it gets: that must not go round for ever.
cooked() {
	local before after
	terminal
	exec 3<>"$TTY"
	stty -F "$TTY" sane echo
	printf 'help\n' >&3
	sleep 1
	exec 3>&-
	before=$(chains)
	sleep 1
	after=$(chains)
	echo "$before chains, a second later $after"
	[ "$after" -lt $((before + 100)) ]
}

has_size() { [ "$(stty -F "$TTY" size)" = "$1" ]; }

# The driver passes a size on to a terminal that is open.
resized() {
	terminal
	exec 4<>"$TTY"
	wait_for "the size that the peer gives" has_size "$SIZE"
	ask "resize 132 43" >/dev/null
	wait_for "another size" has_size "43 132"
	ask "resize ${SIZE#* } ${SIZE% *}" >/dev/null
	wait_for "the first one again" has_size "$SIZE"
	exec 4>&-
}

# More than fits into all buffers on the way, both ways at once.
bulk() {
	port
	data "$BULK" >"$TMP/sent"
	exchange "OPEN:$DEV" "$TMP/sent" "$TMP/got"
	crc32 <"$TMP/got"
	ask stats | grep 'lost 0 '
}

# One at a time; and who opens it next gets nothing of what was meant for the one before.
opened_again() {
	local i
	port
	exec 4<>"$DEV"
	! (: <"$DEV") 2>/dev/null || die "it can be opened twice"
	exec 4>&-
	for i in 1 2 3 4 5; do
		exec 4<>"$DEV"
		echo "before $i" >&4
		exec 4>&-
		exec 4<>"$DEV"
		echo "after $i" >&4
		[ "$(head -n 1 <&4)" = "after $i" ]
		exec 4>&-
	done
}

# A port is taken away, while it is open as well, and is there again.
unplugged() {
	local reader
	port
	cat "$DEV" >/dev/null 2>&1 &
	reader=$!
	ask "unplug 1" >/dev/null
	wait_for "the port to be gone" no_port
	in_time 20 wait_gone $reader
	# It has come to the end before the port went: there is no error.
	wait $reader || die "the reader has an error: $?"
	ask "plug 1" >/dev/null
	wait_for "the port to be there again" port
	opened_again
}
wait_gone() { while [ -e "/proc/$1" ]; do nap 0.05; done; }

# The peer goes in the middle of it: nobody waits for it, and another one is as good.
another_peer() {
	local boot pids=()
	boot=$(epoch)
	port
	cat "$DEV" >/dev/null 2>&1 &
	pids+=($!)
	terminal
	cat /dev/zero >"$TTY" 2>/dev/null &
	pids+=($!)
	sleep 0.5
	stop_peer
	for pid in "${pids[@]}"; do in_time 20 wait_gone "$pid"; done
	wait_for "no device" no_devices
	start_peer "$(patch_firmware console "devices=vsock,console")"
	wait_for "the link to be up" link_is up
	wait_for "a terminal" terminal
	wait_for "a port with a name" port
	[ "$(epoch)" != "$boot" ]
	[ "$(ask "echo again")" = again ]
	opened_again
	end
}

# caught FAULT LINE: it is the end of that device, of no other, and there is one line.
caught() {
	start "fault=$1"
	expect_log "$LINK: device 1 .virtio type 3. failed: queue 2: $2"
	calm
}
calm() {
	vsock_works
	[ "$(log_since | grep -c virtio)" -lt 30 ] || die "the log is flooded"
	end
}

# borne FAULT: it means nothing to Linux.
borne() {
	console "fault=$1"
	[ "$(ask "echo hello")" = hello ]
	opened_again
	expect_no_log "failed"
	calm
}

# late FAULT LINE: caught once the port is open.
late() {
	console "fault=$1"
	exec 4<>"$DEV"
	expect_log "$LINK: device 1 .virtio type 3. failed: queue 2: $2"
	exec 4>&-
	calm
}

# some_came: so that the other end is in the middle of it.
some_came() { [ "$(stat -c %s "$TMP/got")" -gt 100000 ]; }

# The link is unbound, or the peer takes the port away, while somebody reads and writes: who gets no more then, and
# what came is what was sent.
gone_while_read() {
	local round pid writer size driver=/sys/bus/platform/drivers/virtio_hvl
	# Who only waits comes to the end, too, and not to an error.
	port
	cat "$DEV" >/dev/null &
	pid=$!
	cat /dev/zero >"$TTY" 2>/dev/null &
	writer=$!
	sleep 0.5
	echo "$LINK" >$driver/unbind
	in_time 20 wait_gone $pid
	wait $pid || die "the reader has an error: $?"
	in_time 20 wait_gone $writer
	echo "$LINK" >$driver/bind
	wait_for "a terminal" terminal
	if log_since | grep "$LINK.* failed: "; then die "the peer did nothing wrong"; fi
	data 8 >"$TMP/sent"
	for ((round = 0; round < GONE; round++)); do
		wait_for "the port" port
		: >"$TMP/got"
		HVL_SEND=$TMP/sent HVL_GET=$TMP/got socat "OPEN:$DEV" EXEC:"$HERE/both_ways.sh",nofork 2>/dev/null &
		pid=$!
		wait_for "some of it" some_came
		nap 0.0$((RANDOM % 10))
		if [ $((round % 2)) -eq 0 ]; then
			echo "$LINK" >$driver/unbind
		else
			ask "unplug 1" >/dev/null
		fi
		in_time 20 wait_gone $pid
		size=$(stat -c %s "$TMP/got")
		cmp -n "$size" "$TMP/got" "$TMP/sent" || die "round $round: $(differs "$TMP/got" "$TMP/sent")"
		if [ $((round % 2)) -eq 0 ]; then
			no_port || die "round $round: the port is there"
			echo "$LINK" >$driver/bind
			wait_for "a terminal" terminal
		else
			wait_for "the port to be gone" no_port
			ask "plug 1" >/dev/null
		fi
	done
	rm "$TMP/sent" "$TMP/got"
	wait_for "the port" port
	echoed "OPEN:$DEV" 1
}

# As many ports as there are no queues for: then it is one terminal.
ports() {
	start "fault=console-ports"
	expect_log "device 1 .virtio type 3.: feature bit 1 with max_nr_ports 65535 needs 131072 queues, QueueCount is 6"
	wait_for "a terminal" terminal
	[ "$(ask "echo hello")" = hello ]
	calm
}

add "ports of virtio_console, by their names" 120 found
add "a shell on the terminal" 120 shell
add "its counters begin at 0" 60 counters
add "a terminal that sends all back" 60 cooked
add "the size of the terminal, and another one" 60 resized
add "$BULK MiB through a port, both ways at once" 300 bulk
add "a port that is opened again" 60 opened_again
add "a port that is taken away, and is there again" 60 unplugged
add "a port that goes while it is read, $GONE times" "$(by_tier 120 1200)" gone_while_read
add "another peer, in the middle of it" 120 another_peer
add "a port that there cannot be" 60 caught console-range "control message of port 2: must be below 2"
add "a message that is shorter than any" 60 caught console-short "used length 3 of id [0-9]+ is below the 8 bytes"
add "a terminal that was something else" 60 late console-late "port 1 is to be a terminal, and is open"
add "a port that comes and goes all the time" 120 caught console-churn "more than 100 ports added or removed in 10 s"
add "more ports than queues" 60 ports
if [ -n "${HVL_LONG:-}" ]; then
	add "a port that there is already" 60 borne console-twice
	add "a message of no kind that there is" 60 borne console-event
	add "a size without a size" 60 caught console-resize "control message 5 has 8 bytes: must have 12"
	add "a message that is longer than its room" 60 late console-length "used length 1048576 of id [0-9]+ exceeds"
fi
run_tests
