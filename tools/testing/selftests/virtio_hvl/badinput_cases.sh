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

bad_node no-region EINVAL "memory-region is missing" "interrupts = <0 110 1>;"
bad_node region-nowhere EINVAL "memory-region" \
	"memory-region = <0xdeadbeef>; interrupts = <0 110 1>;"
bad_node region-is-cpu EINVAL "memory-region.*virtio-hvl,region" \
	"memory-region = <&hvl_cpu>; interrupts = <0 110 1>;"
bad_node region-plain EINVAL "memory-region.*virtio-hvl,region" "$(good plain)"
bad_node region-small ERANGE "memory-region has size 0x8000: .*0x12000" "$(good small)"
bad_node region-unaligned EINVAL "memory-region at 0x7d200800, .*unaligned.*0x1000" \
	"$(good unaligned)"
bad_node region-mapped EINVAL "memory-region.*no-map" "$(good mapped)"
bad_node region-late ENODEV "memory-region.*reserved.*boot" \
	"memory-region = <&late>; interrupts = <0 110 1>; }; };
	&{/reserved-memory} { late: late@7d600000 { compatible = \"virtio-hvl,region\";
	reg = <0x0 0x7d600000 0x0 0x100000>; no-map;"
bad_node region-shared EBUSY "memory-region at 0x7a100000, .*overlaps" "$(good overlapping)"
bad_node doorbell-no-value EINVAL "virtio-hvl,doorbell-value is missing" "$(good spare) $RING"
bad_node doorbell-value-empty EINVAL "virtio-hvl,doorbell-value.*cell" \
	"$(good spare) $RING virtio-hvl,doorbell-value;"
bad_node doorbell-value-many EINVAL "virtio-hvl,doorbell-value.*1 to 65 32-bit cells" \
	"$(good spare) $RING virtio-hvl,doorbell-value = <$(printf '1 %.0s' {0..65})>;"
bad_node doorbell-value-alone EINVAL "virtio-hvl,doorbell-value.*reg" \
	"$(good spare) virtio-hvl,doorbell-value = <1>;"
bad_node doorbell-unaligned EINVAL "doorbell register at 0x8000212, .*aligned" \
	"$(good spare) reg = <0x0 0x08000212 0x0 0x4>; reg-names = \"doorbell\"; virtio-hvl,doorbell-value = <1>;"
bad_node doorbell-short EINVAL "doorbell register at 0x8000210, size 0x2: .*4" \
	"$(good spare) reg = <0x0 0x08000210 0x0 0x2>; reg-names = \"doorbell\"; virtio-hvl,doorbell-value = <1>;"
bad_node doorbell-unnamed EINVAL "reg-names.*doorbell" \
	"$(good spare) reg = <0x0 0x08000210 0x0 0x4>; reg-names = \"bell\"; virtio-hvl,doorbell-value = <1>;"
bad_node poll-and-interrupt EINVAL "virtio-hvl,poll-interval-us is there, and interrupts as well" \
	"$(good spare) virtio-hvl,poll-interval-us = <100 1000>;"
bad_node poll-one-cell EINVAL "virtio-hvl,poll-interval-us is not well-formed: must be two 32-bit cells" \
	"memory-region = <&hvl_test_spare>; virtio-hvl,poll-interval-us = <100>;"
bad_node poll-short ERANGE "virtio-hvl,poll-interval-us is 9 1000: must be from 10 to 1000000" \
	"memory-region = <&hvl_test_spare>; virtio-hvl,poll-interval-us = <9 1000>;"
bad_node poll-long ERANGE "virtio-hvl,poll-interval-us is 10 1000001: must be from 10 to 1000000" \
	"memory-region = <&hvl_test_spare>; virtio-hvl,poll-interval-us = <10 1000001>;"
bad_node poll-reversed ERANGE "virtio-hvl,poll-interval-us is 1000 100: .* the shorter first" \
	"memory-region = <&hvl_test_spare>; virtio-hvl,poll-interval-us = <1000 100>;"
bad_node interrupt-short ENXIO "interrupts .*cannot be mapped .ENXIO." \
	"memory-region = <&hvl_test_spare>; interrupts = <0 110>;"
bad_node interrupt-beyond EINVAL "interrupts cannot be requested .EINVAL.: .*edge-triggered" \
	"memory-region = <&hvl_test_spare>; interrupts = <0 900 1>;"
# (An interrupt of its own: Linux keeps the type by which it came to know one.)
bad_node interrupt-falling EINVAL "interrupts cannot be requested .EINVAL.: .*edge-triggered" \
	"memory-region = <&hvl_test_spare>; interrupts = <0 111 2>;"
bad_node interrupt-retyped ENXIO "interrupts .*cannot be mapped .ENXIO." \
	"memory-region = <&hvl_test_spare>; interrupts = <0 100 4>;"
bad_node interrupt-taken EBUSY "interrupts cannot be requested .EBUSY.: .*nobody else" \
	"memory-region = <&hvl_test_spare>; interrupts = <0 100 1>;"
VECTORS="memory-region = <&hvl_test_spare>; interrupts = <0 110 1>,"
bad_node interrupts-many ERANGE "interrupts has 66 entries: must be at most 65" \
	"$VECTORS $(printf '<0 120 1>, %.0s' {0..63}) <0 120 1>;"
bad_node interrupts-cut EINVAL "interrupts is not well-formed: must be a list of whole interrupts" \
	"$VECTORS <0 120>;"
bad_node interrupts-names EINVAL "interrupt-names has 1 entries: must be as many as interrupts has, 2" \
	"$VECTORS <0 120 1>; interrupt-names = \"link\";"
bad_node interrupts-retyped ENXIO "interrupts: entry 1 cannot be mapped .ENXIO." \
	"$VECTORS <0 100 4>;"
bad_node msi-count-alone EINVAL "virtio-hvl,msi-count is there but msi-parent is missing" \
	"$(good spare) virtio-hvl,msi-count = <4>;"
bad_node msi-count-none ERANGE "virtio-hvl,msi-count is 0: must be from 1 to 64" \
	"$(good spare) msi-parent = <&hvl_test_intc>; virtio-hvl,msi-count = <0>;"
bad_node msi-count-two EINVAL "virtio-hvl,msi-count.*one 32-bit cell" \
	"$(good spare) msi-parent = <&hvl_test_intc>; virtio-hvl,msi-count = <1 2>;"
bad_node timeout-short ERANGE "virtio-hvl,timeout-ms is 9: must be from 10 to 60000" \
	"$(good spare) virtio-hvl,timeout-ms = <9>;"
bad_node timeout-long ERANGE "virtio-hvl,timeout-ms is 60001: must be from 10 to 60000" \
	"$(good spare) virtio-hvl,timeout-ms = <60001>;"
bad_node watchdog-short ERANGE "virtio-hvl,watchdog-ms is 99: must be from 100 to 600000" \
	"$(good spare) virtio-hvl,watchdog-ms = <99>;"
bad_node watchdog-long ERANGE "virtio-hvl,watchdog-ms is 600001: must be from 100 to 600000" \
	"$(good spare) virtio-hvl,watchdog-ms = <600001>;"
bad_node watchdog-empty EINVAL "virtio-hvl,watchdog-ms.*cell" \
	"$(good spare) virtio-hvl,watchdog-ms;"
bad_node timeout-empty EINVAL "virtio-hvl,timeout-ms.*cell" \
	"$(good spare) virtio-hvl,timeout-ms;"

bad_node direct-bits-alone EINVAL "virtio-hvl,address-bits is there but virtio-hvl,direct is missing" \
	"$(good spare) virtio-hvl,address-bits = <40>;"
bad_node direct-bits-few ERANGE "virtio-hvl,address-bits is 31: must be from 32 to 64" \
	"$(good spare) virtio-hvl,direct; virtio-hvl,address-bits = <31>;"
bad_node direct-bits-many ERANGE "virtio-hvl,address-bits is 65: must be from 32 to 64" \
	"$(good spare) virtio-hvl,direct; virtio-hvl,address-bits = <65>;"
bad_node direct-bits-two EINVAL "virtio-hvl,address-bits.*cell" \
	"$(good spare) virtio-hvl,direct; virtio-hvl,address-bits = <40 40>;"
# (The root of QEMU's tree has dma-coherent.)
bad_node direct-coherent-above EINVAL "virtio-hvl,direct: the node lacks dma-coherent, .*dma-noncoherent" \
	"memory-region = <&hvl_test_spare>; interrupts = <0 110 1>; virtio-hvl,direct;"

NODES="$(good spare) #address-cells = <1>; #size-cells = <0>;"
SHARES="virtio-hvl,queue-share-bytes"
bad_node share-no-device EINVAL "device@0: reg is missing: must be the number" \
	"$NODES device@0 { $SHARES = <0x4000>; };"
bad_node share-two-numbers EINVAL "reg is not well-formed: must be one 32-bit cell" \
	"$NODES device@0 { reg = <0 1>; };"
bad_node share-far-device ERANGE "device@20: reg is 32: must be at most 31" \
	"$NODES device@20 { reg = <32>; $SHARES = <0x4000>; };"
bad_node share-device-twice EINVAL "device@[01]: reg is 0, as that of another node" \
	"$NODES device@0 { reg = <0>; }; device@1 { reg = <0>; $SHARES = <0x4000>; };"
bad_node share-empty EINVAL "device@0: $SHARES is not well-formed: must be 1 to 64" \
	"$NODES device@0 { reg = <0>; $SHARES; };"
bad_node share-no-cell EINVAL "device@0: $SHARES is not well-formed: must be 1 to 64" \
	"$NODES device@0 { reg = <0>; $SHARES = [00 40 00]; };"
bad_node share-many EINVAL "device@0: $SHARES is not well-formed: must be 1 to 64" \
	"$NODES device@0 { reg = <0>; $SHARES = <$(printf '0 %.0s' {0..64})>; };"
bad_node share-small ERANGE "device@0: $SHARES of queue 0 is 0x3000: .*at least 0x4000, such as 0x4000" \
	"$NODES device@0 { reg = <0>; $SHARES = <0x3000>; };"
bad_node share-unaligned ERANGE "device@1: $SHARES of queue 2 is 0x5001: .*multiple of 0x1000 .* such as 0x6000" \
	"$NODES device@1 { reg = <1>; $SHARES = <0 0x4000 0x5001>; };"
bad_node share-top ERANGE "device@0: $SHARES of queue 0 is 0xffffffff: " \
	"$NODES device@0 { reg = <0>; $SHARES = <0xffffffff>; };"
bad_node share-sum ERANGE "$SHARES of all nodes make 0x1ffffe000 bytes: memory-region has size 0x[0-9a-f]+, must be at least 0x200001000" \
	"$NODES device@0 { reg = <0>; $SHARES = <0xfffff000>; }; device@1 { reg = <1>; $SHARES = <0xfffff000>; };"

bad_peer magic "header is refused: .*Magic is 0x[0-9a-f]+, must be equal to 0x4c564876" none
bad_peer version "header is refused: .*Version is 0x[0-9a-f]+, must be" none
bad_peer count "header is refused: .*DeviceCount is 0x3e8, must be at most 0x20" none
bad_peer poolsize "header is refused: .*PoolSize is 0x[0-9a-f]+, must be at most" none
bad_peer base "header is refused: .*PeerBase is 0x[0-9a-f]+, must be a multiple of 0x1000" none
bad_peer table "device 0 is skipped: .*WindowOffset is 0x[0-9a-f]+, must be" vsock
bad_peer overlap "device 0 is skipped: .*WindowOffset is 0x[0-9a-f]+, must be outside the pool" \
	vsock
bad_peer manyqueues "device 0 is skipped: .*QueueCount is 0x[0-9a-f]+, must be at most 0x40" vsock
bad_peer iommu "device 0 is skipped: .*DeviceId is 0x17, must be other than an IOMMU" vsock
bad_peer qsize "failed: .*QueueSizeMax is 0x3, must be a power of two" unbound
bad_peer qsize0 "failed: .*QueueSizeMax is 0x0, must be from 1 to" unbound
bad_peer qsizemax "failed: .*QueueSizeMax is 0xffff, must be from 1 to" unbound
bad_peer noreply "failed: the peer did not answer a transaction in [0-9]+ ms" unbound
