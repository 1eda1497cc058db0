# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the driver has to refuse, one case each. Read twice: by make-overlays, which makes
# an overlay of each bad node, and by badinput.sh, which presents it to the driver.
#
# bad_node NAME ERRNO PATTERN PROPERTIES: a link node that is good but for one thing; the
#	driver's error has to match PATTERN and its probe has to fail with ERRNO.
# bad_peer FAULT PATTERN EFFECT [WORDS]: a peer with that fault; EFFECT is what Linux has
#	afterwards: none (no device), vsock (the other device works), unbound (devices
#	are there, but the drivers could not use them).

# The good part, for the region in $1: an interrupt and a region of its own.
good() {
	echo "memory-region = <&hvl_test_$1>; interrupts = <0 110 1>; dma-coherent;"
}

RING="reg = <0x0 0x08000210 0x0 0x4>; reg-names = \"doorbell\";"

bad_node no-region EINVAL "memory-region.*(missing|absent|no |is not)" \
	"interrupts = <0 110 1>;"
bad_node region-is-cpu EINVAL "memory-region" \
	"memory-region = <&hvl_cpu>; interrupts = <0 110 1>;"
bad_node region-plain EINVAL "memory-region.*virtio-hvl,region" "$(good plain)"
bad_node region-small EINVAL "(region|size).*0x8000\b.*0x12000" "$(good small)"
bad_node region-unaligned EINVAL "region.*0x7d200800.*(0x1000|4096|page)" "$(good unaligned)"
bad_node region-mapped EINVAL "region.*no-map" "$(good mapped)"
bad_node region-shared EBUSY "region.*0x7a100000" "$(good overlapping)"
bad_node doorbell-no-value EINVAL "virtio-hvl,doorbell-value" "$(good spare) $RING"
bad_node doorbell-zero EINVAL "virtio-hvl,doorbell-value.*0" \
	"$(good spare) $RING virtio-hvl,doorbell-value = <0>;"
bad_node doorbell-value-empty EINVAL "virtio-hvl,doorbell-value" \
	"$(good spare) $RING virtio-hvl,doorbell-value;"
bad_node doorbell-value-two EINVAL "virtio-hvl,doorbell-value" \
	"$(good spare) $RING virtio-hvl,doorbell-value = <1 2>;"
bad_node doorbell-value-alone EINVAL "doorbell" \
	"$(good spare) virtio-hvl,doorbell-value = <1>;"
bad_node doorbell-unaligned EINVAL "doorbell.*0x8000212" \
	"$(good spare) reg = <0x0 0x08000212 0x0 0x4>; reg-names = \"doorbell\"; virtio-hvl,doorbell-value = <1>;"
bad_node doorbell-short EINVAL "doorbell.*\b(0x)?2\b" \
	"$(good spare) reg = <0x0 0x08000210 0x0 0x2>; reg-names = \"doorbell\"; virtio-hvl,doorbell-value = <1>;"
bad_node doorbell-unnamed EINVAL "reg-names|doorbell" \
	"$(good spare) reg = <0x0 0x08000210 0x0 0x4>; reg-names = \"bell\"; virtio-hvl,doorbell-value = <1>;"
bad_node no-interrupt "EINVAL|ENXIO" "interrupts" "memory-region = <&hvl_test_spare>;"
bad_node interrupt-nowhere "EINVAL|ENXIO" "interrupt" \
	"memory-region = <&hvl_test_spare>; interrupts = <0 5000 1>;"
bad_node interrupt-taken EBUSY "interrupt" \
	"memory-region = <&hvl_test_spare>; interrupts = <0 100 1>;"
bad_node timeout-short EINVAL "virtio-hvl,timeout-ms.*\b9\b.*10" \
	"$(good spare) virtio-hvl,timeout-ms = <9>;"
bad_node timeout-long EINVAL "virtio-hvl,timeout-ms.*\b60001\b.*60000" \
	"$(good spare) virtio-hvl,timeout-ms = <60001>;"
bad_node timeout-empty EINVAL "virtio-hvl,timeout-ms" "$(good spare) virtio-hvl,timeout-ms;"

bad_peer magic "Magic is 0x[0-9a-f]+, must be" none
bad_peer version "Version is 0x[0-9a-f]+, must be" none
bad_peer count "DeviceCount is 0x3e8, must be" none
bad_peer poolsize "PoolSize is 0x[0-9a-f]+, must be" none
bad_peer base "PeerBase[A-Za-z]* is 0x[0-9a-f]+, must be" none
bad_peer table "WindowOffset is 0x[0-9a-f]+, must be" vsock
bad_peer overlap "WindowOffset is 0x[0-9a-f]+, must be outside the pool" vsock
bad_peer manyqueues "QueueCount is 0x[0-9a-f]+, must be at most 0x40" vsock
bad_peer qsize "QueueSizeMax is (0x)?3\b" unbound
bad_peer qsize0 "QueueSizeMax is (0x)?0\b" unbound
bad_peer qsizemax "QueueSizeMax is (0xffff|65535)\b" unbound
bad_peer noreply "(no answer|did not answer|deadline|timed out|not answered)" unbound
