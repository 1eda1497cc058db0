# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What psci_rproc has to refuse at probe, one case each. Read twice: by make-overlays, which
# makes an overlay of each, and by psci_rproc.sh, which presents it to the driver.
#
# bad_rproc NAME ERROR PATTERN PROPERTIES: a node that is good but for one thing; the driver's
#	error has to match PATTERN, and probe has to fail with ERROR.

CPUS="cpus = <&hvl_cpu>;"
FIRMWARE_MEMORY="memory-region = <&hvl_firmware>;"
SPARE_MEMORY="memory-region = <&hvl_test_spare>;"
BELL="reg = <0x0 0x08000210 0x0 0x4>; reg-names = \"doorbell\";"

bad_rproc no-cpus "Invalid argument" "cpus: missing: it has to name the core" "$SPARE_MEMORY"
bad_rproc two-cpus "Invalid argument" "cpus: names more than one core" \
	"cpus = <&hvl_cpu &hvl_cpu>; $SPARE_MEMORY"
bad_rproc no-core "No such device" "cpus: does not name one of the cores" \
	"cpus = <&hvl_region>; $SPARE_MEMORY"
bad_rproc boot-core "Device or resource busy" "cpus: names cpu0, the boot core" \
	"cpus = <&hvl_test_cpu0>; $SPARE_MEMORY"
bad_rproc no-memory "Invalid argument" "memory-region: missing or disabled" "$CPUS"
bad_rproc no-reserved "Invalid argument" "memory-region: does not name a child of /reserved-memory" \
	"$CPUS memory-region = <&hvl_cpu>;"
bad_rproc mapped "Invalid argument" "memory-region: .* has no no-map property" \
	"$CPUS memory-region = <&hvl_test_mapped>;"
bad_rproc shared "Device or resource busy" "memory-region: 0x[0-9a-f]+-0x[0-9a-f]+ is in use" \
	"$CPUS $FIRMWARE_MEMORY"
bad_rproc bell-no-value "Invalid argument" "virtio-hvl,doorbell-value: missing" \
	"$CPUS $SPARE_MEMORY $BELL"
bad_rproc bell-value-alone "Invalid argument" "reg-names: a doorbell needs a reg" \
	"$CPUS $SPARE_MEMORY virtio-hvl,doorbell-value = <1>;"
bad_rproc bell-unnamed "Invalid argument" "reg-names: a doorbell needs a reg that it calls" \
	"$CPUS $SPARE_MEMORY reg = <0x0 0x08000210 0x0 0x4>; virtio-hvl,doorbell-value = <1>;"
bad_rproc bell-short "Invalid argument" "reg: the doorbell has 2 bytes at 0x8000210" \
	"$CPUS $SPARE_MEMORY virtio-hvl,doorbell-value = <1>;
	 reg = <0x0 0x08000210 0x0 0x2>; reg-names = \"doorbell\";"
bad_rproc bell-unaligned "Invalid argument" "reg: the doorbell has 4 bytes at 0x8000212" \
	"$CPUS $SPARE_MEMORY virtio-hvl,doorbell-value = <1>;
	 reg = <0x0 0x08000212 0x0 0x4>; reg-names = \"doorbell\";"
bad_rproc timeout-short "Invalid argument" "stop-timeout-ms: 9 is not between 10 and 60000" \
	"$CPUS $SPARE_MEMORY virtio-hvl,stop-timeout-ms = <9>;"
bad_rproc timeout-long "Invalid argument" "stop-timeout-ms: 60001 is not between 10 and 60000" \
	"$CPUS $SPARE_MEMORY virtio-hvl,stop-timeout-ms = <60001>;"
bad_rproc timeout-empty "Invalid argument" "stop-timeout-ms: not one 32-bit value" \
	"$CPUS $SPARE_MEMORY virtio-hvl,stop-timeout-ms;"
bad_rproc name-empty "Invalid argument" "firmware-name" "$CPUS $SPARE_MEMORY firmware-name;"
bad_rproc table-unaligned "out of range" "resource-table-offset: 0x2 is not a multiple of 4 within" \
	"$CPUS $SPARE_MEMORY virtio-hvl,resource-table-offset = <2>;"
bad_rproc table-outside "out of range" "resource-table-offset: 0x10000000 is not a multiple of 4 within" \
	"$CPUS $SPARE_MEMORY virtio-hvl,resource-table-offset = <0x10000000>;"
bad_rproc table-empty "Invalid argument" "resource-table-offset: not one 32-bit value" \
	"$CPUS $SPARE_MEMORY virtio-hvl,resource-table-offset;"
