# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the tests of a peer that a boot loader has started before Linux (tools/qemu/vm --peer-first). No
# `fresh` here, nor `up`: they stop the peer.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ONLINE=/sys/devices/system/cpu/cpu1/online

# How often it has booted, by its log.
boots() { trace | grep -c 'virtio-hvl peer'; }
# Since when it is up, in seconds.
uptime_of_peer() { curl -s -m "$PATIENCE" "http://$PEER_IP/" | sed -n 's/^uptime: \([0-9]*\).*/\1/p'; }

# the_same_peer: as was there before Linux, which has been up for a shorter time.
the_same_peer() {
	local linux peer
	peer_is attached || die "its state is $(peer_state)"
	[ "$(boots)" = 1 ] || die "it has booted $(boots) times: $(trace)"
	[ "$(epoch)" = 1 ] || die "its epoch is $(epoch), the first is 1"
	read -r linux _ </proc/uptime
	peer=$(uptime_of_peer)
	[ "$peer" -ge "${linux%.*}" ] || die "it is up for $peer s, Linux for $linux s"
}

begin() {
	modprobe virtio_net
	modprobe vmw_vsock_virtio_transport
	modprobe psci_rproc
}

found() {
	begin
	peer_is attached || die "its state is $(peer_state)"
	[ "$(boots)" = 1 ] || die "it has booted $(boots) times: $(trace)"
	[ "$(<$ONLINE)" = 0 ] || die "its core is one of Linux's"
	if (echo 1 >$ONLINE) 2>/dev/null; then die "Linux took the core while the peer was running"; fi
	expect_log "cpu1 belongs to a firmware"
}
