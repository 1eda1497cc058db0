#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A Linux that attacks (the module hvl_attack, in the place of virtio_hvl), while the peer's core runs a control loop beside
# the link. The peer goes on, the loop computes what it should and keeps its time as well as without a link, nothing
# that was not the peer's to write has changed, and an honest Linux works with the same peer afterwards.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Words for each way of lying, and for all of them together; the seeds.
WORDS=${HVL_WORDS:-$(by_tier 12000 1000000)}
read -ra SEEDS <<<"${HVL_SEEDS:-$(by_tier "1" "1 2 3 4 5 6 7 8")}"
read -ra WAYS <<<"${HVL_WAYS:-uniform header windows rings content deep storm}"
LINE="devices=net,vsock,blk,console,rng,rpmsg net-queues=2 control=1000"
# Seconds for each state.
STATE=${HVL_STATE:-$(by_tier 3 20)}
ATTACK=/sys/kernel/debug/hvl_attack

# figures WHAT: what the peer has said last of its loop, or of its passes.
figures() { trace | sed -n "s/.*\] $1: //p" | tail -n 1; }
field() { sed -n "s/.* $1 \([0-9]*\).*/\1/p" <<<" $2"; }
# (After many other lines of the log there may be none of it, until the next.)
runs() {
	local count
	count=$(field runs "$(figures control)")
	echo "${count:-0}"
}

# tell STATE: the figures, with the results.
tell() {
	say "$1: control: $(figures control)"
	say "$1: control run: $(figures "control run")"
	say "$1: pass: $(figures pass)"
}

more_runs() {
	no_fault
	[ "$(runs)" -gt "$1" ]
}

no_fault() {
	if trace | grep -A 12 -E 'FATAL|panic|exception'; then die "the peer has a fault"; fi
}

# The peer is as it was: it runs, it has seen no fault, and the loop goes on and computes what it should.
peer_well() {
	local now
	peer_is running || die "the peer is $(peer_state): $(trace | tail -n 20)"
	now=$(runs)
	wait_for "more runs of the control loop" more_runs "$now"
	[[ $(figures control) == *" well "* ]] || die "the control loop has computed something else: $(figures control)"
}

has_figures() { [ -n "$(figures control)" ]; }

start_controlled() {
	fresh
	start_peer "$(patch_firmware attack "$LINE")"
	wait_for "figures of the control loop" has_figures
}

state_idle() {
	start_controlled
	nap "$STATE"
	peer_well
	tell idle
	stop_peer
}

state_loaded() {
	local end job jobs=()
	start_controlled
	load
	usable
	end=$((SECONDS + STATE))
	while [ $SECONDS -lt $end ]; do
		timeout 10 socat -u -b 65536 OPEN:/dev/zero,readbytes=4000000 TCP:$PEER_IP:9 || true
		timeout 10 socat -u -b 65536 OPEN:/dev/zero,readbytes=4000000 VSOCK-CONNECT:$PEER_CID:9 || true
	done &
	jobs+=($!)
	while [ $SECONDS -lt $end ]; do timeout 10 ping -q -f -c 300 -s 1400 $PEER_IP >/dev/null || true; done &
	jobs+=($!)
	for job in "${jobs[@]}"; do wait "$job"; done
	peer_well
	tell loaded
	unload
	stop_peer
}

# number FILE OFFSET BYTES: an unsigned number of an ELF.
number() { od -An -tu"$3" -j "$2" -N "$3" "$1" | tr -d ' '; }

# What the firmware does not write: the segments of code and of constants, which come first.
code_of() {
	local elf=$FIRMWARE_DIR/$1 headers at
	headers=$(number "$elf" 32 8)
	CODE=$(number "$elf" $((headers + 16)) 8)
	at=$((headers + 56))
	CODE_SIZE=$(($(number "$elf" $((at + 16)) 8) + $(number "$elf" $((at + 40)) 8) - CODE))
	[ $CODE_SIZE -gt 100000 ] || die "code of $CODE_SIZE bytes"
}

attacked_by() {
	local way seed before
	start_controlled
	code_of hvl-attack.elf
	modprobe hvl_attack link="$LINK" code="$CODE" code_size=$CODE_SIZE ||
		skip "no module hvl_attack: README.rst says where it comes from"
	before=$(<$ATTACK/code)
	for seed in "${SEEDS[@]}"; do
		for way in "$@"; do
			attack_once "$seed" "$way"
		done
	done
	[ "$(<$ATTACK/code)" = "$before" ] || die "the peer's code has changed"
	[ "$(<$ATTACK/canary)" = 0 ] || die "memory of Linux's own has changed"
	tell attacked
	rmmod hvl_attack
	# The same peer, and a Linux that does what it should.
	load
	usable
	unload
	stop_peer
}

attack_once() {
	local came
	echo "$1 $2 $WORDS" >$ATTACK/run || die "$2, seed $1: $(trace | tail -n 30)"
	came=$(<$ATTACK/run)
	say "$2, seed $1: $came"
	# Who is refused at the door shows nothing of what is behind it.
	if [[ $2 != header && $2 != storm ]] && [ "$(field ready "$came")" -eq 0 ]; then die "no device was ever set up"; fi
	if [[ $2 == rings || $2 == content ]] && [ "$(field used "$came")" -eq 0 ]; then die "no buffer was ever used"; fi
	# A lie counts where much of what was said before it was believed.
	if [ "$2" = deep ] && { [ "$(field lies "$came")" -eq 0 ] || [ "$(field used "$came")" -lt "$(field lies "$came")" ]; }; then
		die "less was used than there were lies"
	fi
	peer_well
}

unload_attack() { if [ -d /sys/module/hvl_attack ]; then rmmod hvl_attack; fi; }
unload_attack

add "the control loop of an idle peer" 120 state_idle
add "the control loop of a peer with a lot to do" 300 state_loaded
for way in "${WAYS[@]}"; do
	[ -z "${HVL_LONG:-}" ] || add "Linux attacks: $way" 3600 attacked_by "$way"
done
[ "${HVL_WAYS:-}" ] || WAYS+=(all)
add "Linux attacks, in every way" "$(by_tier 600 7200)" attacked_by "${WAYS[@]}"
run_tests
