#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest.sh VARIANT CASE...: in the guest: each of the cases, with the modules of VARIANT.
variant=$1
shift
modprobe -a net_failover || exit 1
device() { basename /sys/devices/net_test/virtio*/net/*; }
for case; do
	module=${case%:*} value=${case#*:}
	case $module in
	ring_test) timeout 20 insmod "/upstream/$variant/ring_test.ko" "what=$value" & ;;
	net_test)
		lsmod | grep -q '^virtio_net ' || insmod "/upstream/$variant/virtio_net.ko" || exit 1
		timeout 20 insmod "/upstream/$variant/net_test.ko" "bit=$value" &
		;;
	esac
	for ((n = 0; n < 50; n++)); do
		sleep 0.2
		[ -n "$(jobs -r)" ] || break
	done
	[ -z "$(jobs -r)" ] || echo "$case: does not come to an end"
	[ "$case" != net_test:2 ] || ethtool -K "$(device)" rx-gro-hw off >/dev/null 2>&1
	# What died with a lock in its hands lets nobody else go on.
	! dmesg | grep -q 'kernel BUG' || break
	[ "$case" != net_test:2 ] || ethtool -k "$(device)" | sed -n "s/^rx-gro-hw/$case: &/p"
	rmmod net_test 2>/dev/null
done
dmesg | grep -E 'ring_test:|net_test:|kernel BUG|soft lockup|virtio_net virtio.*advertises|Internal error|WARNING'
echo "@end"
