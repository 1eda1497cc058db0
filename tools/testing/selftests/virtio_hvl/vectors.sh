#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Interrupts of their own for devices and queues: who gets how many, what they are called, where they
# go, and what is said of one that does not work. The node gets them by overlays, or has a controller
# for messages.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# The same as SPI 120 and on of the overlays.
LINES="irqs=152-159"
# What takes messages on the test machine: GICv2m's frame, or the ITS's second page of 64 KiB, which has its
# register at the same place.
FRAME="msi=0x08020000"
if [ -e /proc/device-tree/intc@8000000/its@8080000 ]; then FRAME="msi=0x08090000"; fi

# boot OVERLAY WORDS: a link with the overlay, if there is one, and a peer with these words.
boot() {
	local firmware
	fresh
	[ -z "$1" ] || apply_overlay "$1"
	firmware=$(patch_firmware vectors "devices=net,vsock $2")
	start_peer "$firmware"
	load
	usable
}

# vectors TYPE: what the interrupts of that device's queues are.
vectors() { debug devices | sed -n "s/.*: type $1 .* vectors \([a-z]*\).*/\1/p"; }

# vdev TYPE: name of that device, as in virtio0.
vdev() { basename "$(device_of "$1")"; }

# irq NAME: the number of the interrupt with that name.
irq() { awk -v name="$1" '$NF == name { sub(":", "", $1); print $1 }' /proc/interrupts; }

# count NAME [CPU [elsewhere]]: how often it came, on that CPU, on all others, or on any.
count() {
	awk -v name="$1" -v cpu="${2:-}" -v elsewhere="${3:-}" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == "CPU" cpu) column = i + 1; cpus = NF }
		$NF == name {
			for (i = 2; i <= cpus + 1; i++)
				if (cpu == "" || (i == column) == (elsewhere == "")) sum += $i
		}
		END { print sum + 0 }' /proc/interrupts
}

# names PATTERN...: the vectors are called so, and no other is there.
names() {
	local want got
	want=$(printf '%s\n' "$@" | sort)
	got=$(awk '$NF ~ /^virtio[0-9]+-/ { print $NF }' /proc/interrupts | sort)
	[ "$want" = "$got" ] || die "interrupts are" $got "should be" $want
}

net_queues() { printf '%s\n' "$(vdev 1)-input.0" "$(vdev 1)-output.0"; }
vsock_queues() { printf '%s\n' "$(vdev 19)-rx" "$(vdev 19)-tx" "$(vdev 19)-event"; }

# grows NAME COMMAND...: the interrupt comes while that runs.
grows() {
	local name=$1 before
	shift
	before=$(count "$name")
	"$@"
	[ "$(count "$name")" -gt "$before" ] || die "$name did not come"
}

traffic() {
	pings_answered 50 -i 0.002
	echoed "VSOCK-CONNECT:$PEER_CID:7" 1
}

# Both devices work, and nothing had to be looked for.
works() {
	traffic
	[ "$(debug stats | sed -n 's/^errors-[a-z-]*: //p' | sort -u)" = 0 ] || die "errors: $(debug stats)"
	expect_no_log "$LINK: .*(looked for|cannot be requested)"
}

per_queue() { # OVERLAY WORDS
	local link
	boot "$1" "$2"
	[ "$(vectors 1) $(vectors 19)" = "queues queues" ]
	# shellcheck disable=SC2046 # words
	names $(net_queues) $(vsock_queues)
	works
	# Nothing of this comes by the link's doorbell.
	link=$(count virtio-hvl)
	grows "$(vdev 1)-input.0" pings_answered 50 -i 0.002
	grows "$(vdev 19)-rx" echoed "VSOCK-CONNECT:$PEER_CID:7" 1
	[ $(($(count virtio-hvl) - link)) -lt 20 ] || die "the doorbell came $(($(count virtio-hvl) - link)) times"
	# A message by each, as debugfs has it.
	debug devices
	[ "$(debug devices | grep -c " vector $(vdev 1)-input.0 irq $(irq "$(vdev 1)-input.0") came [1-9]")" -eq 1 ]
}

# last CPU: one that Linux has, and is not the first.
last_cpu() { sed 's/.*[,-]//' /sys/devices/system/cpu/online; }

affinity() {
	local name number cpu before others
	name=$(vdev 1)-input.0
	number=$(irq "$name")
	cpu=$(last_cpu)
	for cpu in "$cpu" 0; do
		echo "$cpu" >"/proc/irq/$number/smp_affinity_list"
		[ "$(cat "/proc/irq/$number/effective_affinity_list")" = "$cpu" ]
		pings_answered 5 -i 0.002
		before=$(count "$name" "$cpu")
		others=$(count "$name" "$cpu" elsewhere)
		pings_answered 50 -i 0.002
		[ "$(count "$name" "$cpu")" -gt "$before" ] || die "$name did not come to CPU $cpu"
		[ "$(count "$name" "$cpu" elsewhere)" -eq "$others" ] || die "$name came elsewhere, too"
	done
}

# Interrupts of two devices on two CPUs, at the same time.
parallel() {
	local net vsock cpu
	net=$(vdev 1)-input.0
	vsock=$(vdev 19)-rx
	cpu=$(last_cpu)
	echo 0 >"/proc/irq/$(irq "$net")/smp_affinity_list"
	echo "$cpu" >"/proc/irq/$(irq "$vsock")/smp_affinity_list"
	ping -q -n -i 0.002 -w "$PATIENCE" $PEER_IP >/dev/null &
	# shellcheck disable=SC2064
	trap "kill $! 2>/dev/null" EXIT
	local before_net before_vsock
	before_net=$(count "$net" 0)
	before_vsock=$(count "$vsock" "$cpu")
	echoed "VSOCK-CONNECT:$PEER_CID:7" 2
	[ "$(count "$net" 0)" -gt "$before_net" ] && [ "$(count "$vsock" "$cpu")" -gt "$before_vsock" ]
	works
}

# disk: its name.
disk() { ls "$(device_of 2)/block" 2>/dev/null; }
has_disk() { [ -b "/dev/$(disk)" ]; }

# virtio_blk has a queue's interrupt go to the CPUs that use the queue.
spread() {
	local queue cpu name effective before others used=0
	fresh
	apply_overlay vectors-enough
	modprobe virtio_blk
	start_peer "$(patch_firmware vectors "devices=blk blk-queues=3 $LINES")"
	load
	wait_for "virtio_blk to be bound" bound 2
	wait_for "a disk" has_disk
	[ "$(vectors 2)" = queues ]
	grep -H . /sys/block/"$(disk)"/mq/*/cpu_list
	for cpu in $(sed 's/[,-]/ /g' /sys/devices/system/cpu/online); do
		for queue in /sys/block/"$(disk)"/mq/*; do
			name=$(vdev 2)-req.${queue##*/}
			grep -qw "$cpu" "$queue/cpu_list" || continue
			used=$((used + 1))
			effective=$(cat "/proc/irq/$(irq "$name")/effective_affinity_list")
			[ "$effective" = "$cpu" ] || die "$name goes to CPU $effective, its queue is used by $cpu"
			before=$(count "$name" "$cpu")
			others=$(count "$name" "$cpu" elsewhere)
			taskset -c "$cpu" dd if="/dev/$(disk)" of=/dev/null bs=4k count=16 iflag=direct status=none
			[ "$(count "$name" "$cpu")" -gt "$before" ] || die "$name did not come to CPU $cpu"
			[ "$(count "$name" "$cpu" elsewhere)" -eq "$others" ] || die "$name came elsewhere, too"
		done
	done
	# Each CPU of Linux's has a queue to itself.
	[ "$used" -eq "$(nproc)" ] && [ "$used" -ge 2 ] || die "$used queues for $(nproc) CPUs"
}

# Two for the queues of the first device would leave none for the second.
fewer() {
	boot vectors-few "$LINES"
	[ "$(vectors 1) $(vectors 19)" = "queues device" ]
	# shellcheck disable=SC2046
	names $(net_queues) "$(vdev 19)-virtqueues"
	works
	grows "$(vdev 19)-virtqueues" echoed "VSOCK-CONNECT:$PEER_CID:7" 1
}

one() { # OVERLAY WORDS
	boot "$1" "$2"
	[ "$(vectors 1) $(vectors 19)" = "device link" ]
	names "$(vdev 1)-virtqueues"
	works
	grows "$(vdev 1)-virtqueues" pings_answered 20 -i 0.002
	grows virtio-hvl echoed "VSOCK-CONNECT:$PEER_CID:7" 1
}

none() { # OVERLAY WORDS
	boot "$1" "$2"
	[ "$(vectors 1) $(vectors 19)" = "link link" ]
	names
	works
}

# The second one is the link's own, for a second time.
taken() {
	boot vectors-taken "$LINES"
	expect_log "$LINK: device 0 .virtio type 1.: vector 1, interrupt [0-9]+ of Linux's, cannot be requested .EBUSY.: .*nobody else uses"
	[ "$(vectors 1) $(vectors 19)" = "device queues" ]
	# shellcheck disable=SC2046
	names "$(vdev 1)-virtqueues" $(vsock_queues)
	traffic
}

# rung: how often the peer was, by the link's doorbell or another one.
rung() { socat -t "$PATIENCE" - VSOCK-CONNECT:$PEER_CID:21 </dev/null | sed -n 's/^doorbells[^0-9]*\([0-9]*\).*/\1/p'; }

# Queues have the peer's other interrupts in turn.
own_doorbells() {
	local before after
	boot vectors-doorbells "$LINES irqs-in=140-141"
	[ "$(debug devices | sed -n 's/.* doorbell \([0-9]*\).*/\1/p' | tr '\n' ' ')" = "1 2 1 2 1 " ]
	before=$(rung)
	works
	pings_answered 50 -i 0.01
	after=$(rung)
	# One that it does not hear is made up for ten times a second.
	[ $((after - before)) -ge 30 ] || die "the peer was rung $before times, then $after"
}

# The same node, and a peer that has none.
no_own_doorbells() {
	boot vectors-doorbells "$LINES"
	[ "$(debug devices | sed -n 's/.* doorbell \([0-9]*\).*/\1/p' | sort -u)" = 0 ]
	works
}

dead() { # OVERLAY WORDS
	local firmware
	fresh
	[ -z "$1" ] || apply_overlay "$1"
	firmware=$(patch_firmware vectors "devices=net,vsock $2 fault=novector")
	start_peer "$firmware"
	load
	wait_for "the link to be up" link_is up
	wait_for "virtio_net to be bound" bound 1
	net_up
	ping -q -n -i 0.2 -w "$PATIENCE" $PEER_IP >/dev/null &
	# shellcheck disable=SC2064
	trap "kill $! 2>/dev/null" EXIT
	expect_log "$LINK: device 0 .virtio type 1.: queue 0: events are counted, but their interrupt [0-9]+ .virtio[0-9]+-input.0. does not come"
	[ "$(log_since | grep -c 'queue 0: events are counted')" -eq 1 ]
}

# It will not write where Linux says, to this of its own devices.
frame() {
	boot "" "msi=0x09040000"
	[ "$(vectors 1) $(vectors 19)" = "queues queues" ]
	works
	grows virtio-hvl pings_answered 20 -i 0.002
	[ "$(count "$(vdev 1)-input.0")" -eq 0 ]
}

# Peers come and go, and so do drivers.
again() {
	local i
	for ((i = 0; i < 3; i++)); do
		stop_peer
		wait_for "the devices to go" no_devices
		names
		start_peer hvl-vectors.elf
		usable
		rmmod virtio_net
		# shellcheck disable=SC2046
		names $(vsock_queues)
		modprobe virtio_net
		usable
		# shellcheck disable=SC2046
		names $(net_queues) $(vsock_queues)
	done
	works
}

remove() {
	grep -E '[[:space:]]virtio[0-9]+-' /proc/interrupts || die "there were none"
	unload
	nothing_left
	names
	stop_peer
	remove_overlays
}

if [ -e "/sys/bus/platform/devices/$LINK/of_node/msi-parent" ]; then
	add "MSI: each queue has an interrupt of its own" 90 per_queue "" "$FRAME"
	add "MSI: drivers and peers come and go" 90 again
	add "MSI: rmmod leaves no interrupt behind" 30 remove
	add "MSI: a peer that cannot write them rings the doorbell" 60 none "" ""
	add "MSI: a peer that was built with another frame rings the doorbell" 60 frame
	add "MSI: one that never comes is named" 60 dead "" "$FRAME"
else
	add "each queue has an interrupt of its own" 90 per_queue vectors-enough "$LINES"
	add "its CPU can be chosen" 60 affinity
	add "two queues are served on two CPUs" 60 parallel
	add "drivers and peers come and go" 90 again
	add "rmmod leaves no interrupt behind" 30 remove
	add "a disk's queues are spread over the CPUs" 60 spread
	add "too few for that: one for the second device" 60 fewer
	add "only one: the second device has the doorbell" 60 one vectors-one "$LINES"
	add "a peer that can ring but one" 60 one vectors-enough "irqs=152"
	add "a peer that can ring none" 60 none vectors-enough ""
	add "a node that has none" 60 none "" "$LINES"
	add "one that somebody else has: the next best, with a line in the log" 60 taken
	add "the peer has interrupts for queues, too" 60 own_doorbells
	add "a peer that has none" 60 no_own_doorbells
	add "one that never comes is named" 60 dead vectors-enough "$LINES"
fi
run_tests
