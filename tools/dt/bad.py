# SPDX-License-Identifier: GPL-2.0
"""What the checks have to reject: (name, source that is added to a good tree, the complaint).

The sources are overlays on the merged tree of QEMU's virt machine, whose nodes have the
labels hvl_link, hvl_rproc, hvl_region, hvl_firmware, hvl_cpu. An overlay cannot take a
property away, so that a missing one is shown by a node of its own. Three words instead of
a source: node, property and the number that it is set to.
"""

_LINK = """&{/} { virtio-hvl-9 { compatible = "virtio-hvl,link"; %s }; };"""
_RPROC = """&{/} { remoteproc-9 { compatible = "virtio-hvl,psci-rproc"; %s }; };"""
_REGION = """&{/reserved-memory} { %s };"""

# Rejected by the schemas: (name, overlay, regular expression for the message).
SCHEMA = [
    ("link without memory-region", _LINK % "interrupts = <0 90 1>;",
     "'memory-region' is a required property"),
    ("link without interrupts", _LINK % "memory-region = <&hvl_region>;",
     "virtio-hvl-9: .*is not valid under any of the given schemas"),
    ("link with two regions", "&hvl_link { memory-region = <&hvl_region>, <&hvl_firmware>; };",
     "memory-region: .* is too long"),
    ("link with too many interrupts",
     "&hvl_link { interrupts = " + ", ".join(f"<0 {spi} 1>" for spi in range(100, 166)) + "; };",
     "interrupts: .* is too long"),
    ("link with interrupts of which none is the link's",
     """&hvl_link { interrupts = <0 100 1>, <0 120 1>; interrupt-names = "rx", "tx"; };""",
     "interrupt-names"),
    ("link with a number of messages but no controller",
     "&hvl_link { virtio-hvl,msi-count = <4>; };",
     "'msi-parent' is a dependency of 'virtio-hvl,msi-count'"),
    ("link with no messages", "&hvl_link { msi-parent = <&hvl_region>; virtio-hvl,msi-count = <0>; };",
     "0 is less than the minimum of 1"),
    ("link with a doorbell but no value",
     _LINK % """memory-region = <&hvl_region>; interrupts = <0 90 1>;
     reg = <0 0x08000210 0 4>; reg-names = "doorbell";""",
     "'virtio-hvl,doorbell-value' is a dependency of 'reg'"),
    ("link with a value but no doorbell",
     _LINK % """memory-region = <&hvl_region>; interrupts = <0 90 1>;
     virtio-hvl,doorbell-value = <1>;""",
     "'reg' is a dependency of 'virtio-hvl,doorbell-value'"),
    ("link with an unnamed doorbell",
     _LINK % """memory-region = <&hvl_region>; interrupts = <0 90 1>;
     reg = <0 0x08000210 0 4>; virtio-hvl,doorbell-value = <1>;""",
     "'reg-names' is a dependency of 'reg'"),
    ("link with another register name", """&hvl_link { reg-names = "bell"; };""",
     "'doorbell' was expected"),
    ("link with too many values",
     "&hvl_link { virtio-hvl,doorbell-value = <" + "1 " * 66 + ">; };", "doorbell-value"),
    ("link with a deadline too short", "&hvl_link { virtio-hvl,timeout-ms = <9>; };",
     "9 is less than the minimum of 10"),
    ("link with a deadline too long", "&hvl_link { virtio-hvl,timeout-ms = <60001>; };",
     "60001 is greater than the maximum of 60000"),
    ("device without a number", """&hvl_link { #address-cells = <1>; #size-cells = <0>;
     device@0 { virtio-hvl,queue-share-bytes = <0x4000>; }; };""", "'reg' is a required property"),
    ("device with a number too high", """&hvl_link { #address-cells = <1>; #size-cells = <0>;
     device@20 { reg = <32>; }; };""", "32 is greater than the maximum of 31"),
    ("device with a share too small", """&hvl_link { #address-cells = <1>; #size-cells = <0>;
     device@0 { reg = <0>; virtio-hvl,queue-share-bytes = <0 0x3000>; }; };""", "12288"),
    ("device with a share that is no whole number of pages",
     """&hvl_link { #address-cells = <1>; #size-cells = <0>;
     device@0 { reg = <0>; virtio-hvl,queue-share-bytes = <0x4001>; }; };""",
     "16385 is not a multiple of 4096"),
    ("device with a misspelt property", """&hvl_link { #address-cells = <1>; #size-cells = <0>;
     device@0 { reg = <0>; virtio-hvl,queue-share = <0x4000>; }; };""",
     "'virtio-hvl,queue-share' does not match"),
    ("link with a misspelt property", "&hvl_link { virtio-hvl,time-out-ms = <10>; };",
     "'virtio-hvl,time-out-ms' does not match"),
    ("link with dma-coherent that has a value", "&hvl_link { dma-coherent = <1>; };",
     "dma-coherent"),
    ("link with a node name of its own",
     """&{/} { virtio-hvl-shmem { compatible = "virtio-hvl,link"; memory-region = <&hvl_region>;
     interrupts = <0 90 1>; }; };""",
     "nodename.*'virtio-hvl-shmem' does not match"),
    ("region without no-map",
     _REGION % """link@7d000000 { compatible = "virtio-hvl,region";
     reg = <0 0x7d000000 0 0x100000>; };""",
     "'no-map' is a required property"),
    ("region without reg",
     _REGION % """pool { compatible = "virtio-hvl,region"; no-map; size = <0 0x100000>; };""",
     "'reg' is a required property"),
    ("region of two pieces",
     "&hvl_region { reg = <0 0x7a000000 0 0x100000>, <0 0x7b000000 0 0x100000>; };",
     "reg: .* is too long"),
    ("region with a property of its own", "&hvl_region { virtio-hvl,size = <1>; };",
     "'virtio-hvl,size'"),
    ("rproc without cpus", _RPROC % "memory-region = <&hvl_firmware>;",
     "'cpus' is a required property"),
    ("rproc without memory-region", _RPROC % "cpus = <&hvl_cpu>;",
     "'memory-region' is a required property"),
    ("rproc with two cores", "&hvl_rproc { cpus = <&hvl_cpu>, <&hvl_cpu>; };",
     "cpus: .* is too long"),
    ("rproc with two firmwares", """&hvl_rproc { firmware-name = "a.elf", "b.elf"; };""",
     "firmware-name: .* is too long"),
    ("rproc with a deadline too long", "&hvl_rproc { virtio-hvl,stop-timeout-ms = <60001>; };",
     "60001 is greater than the maximum of 60000"),
    ("rproc with a doorbell but no value",
     _RPROC % """memory-region = <&hvl_firmware>; cpus = <&hvl_cpu>;
     reg = <0 0x08000210 0 4>; reg-names = "doorbell";""",
     "'virtio-hvl,doorbell-value' is a dependency of 'reg'"),
    ("rproc with a misspelt property", "&hvl_rproc { firmware = \"a.elf\"; };",
     "'firmware' does not match"),
]

# Rejected by the checks of the tree as a whole.
TREE = [
    ("region in no memory", "&hvl_region { reg = <0x0 0xc0000000 0x0 0x2000000>; };",
     r"link@7a000000: 0xc0000000-0xc2000000 is not within the machine's memory"),
    ("region half out of memory", "&hvl_region { reg = <0x0 0x7f000000 0x0 0x2000000>; };",
     "is not within the machine's memory"),
    ("region over the firmware", "&hvl_region { reg = <0x0 0x78fff000 0x0 0x2000000>; };",
     "overlaps /reserved-memory/"),
    ("region over another reservation",
     _REGION % "other@7b000000 { reg = <0 0x7b000000 0 0x1000>; no-map; };",
     "link@7a000000 overlaps /reserved-memory/other@7b000000"),
    ("region where a pool may be allocated",
     _REGION % "pool { size = <0 0x1000>; alloc-ranges = <0 0x40000000 0 0x40000000>; };",
     "lies where /reserved-memory/pool may be allocated"),
    ("region too small", "&hvl_region { reg = <0x0 0x7a000000 0x0 0x11000>; };",
     "0x11000 bytes, less than 0x12000"),
    ("region not made of pages", "&hvl_region { reg = <0x0 0x7a000800 0x0 0x2000000>; };",
     "is not made of 4 KiB pages"),
    ("region that is none", "&hvl_link { memory-region = <&hvl_firmware>; };",
     "is used as a region, but is not virtio-hvl,region"),
    ("memory-region that leads to a core", "&hvl_link { memory-region = <&hvl_cpu>; };",
     "memory-region leads to no reserved memory"),
    ("one region for two", "&hvl_rproc { memory-region = <&hvl_region>; };",
     "is used by .* and"),
    ("interrupt of another device", "&hvl_link { interrupts = <0 1 1>; };",
     "SPI 1 .linux. is used by /pl011@9000000"),
    ("interrupt of a PCI slot", "&hvl_link { interrupts = <0 4 1>; };",
     "SPI 4 .linux. is used by /pcie@10000000"),
    ("level interrupt", "&hvl_link { interrupts = <0 100 4>; };",
     "not an SPI with a rising edge"),
    ("level interrupt among the others", "&hvl_link { interrupts = <0 100 1>, <0 120 4>; };",
     "not an SPI with a rising edge"),
    ("one interrupt twice", "&hvl_link { interrupts = <0 100 1>, <0 120 1>, <0 120 1>; };",
     "one SPI twice"),
    ("another device's interrupt among the others", "&hvl_link { interrupts = <0 100 1>, <0 1 1>; };",
     "SPI 1 .vector 1. is used by /pl011@9000000"),
    ("private interrupt", "&hvl_link { interrupts = <1 9 1>; };",
     "not an SPI with a rising edge"),
    ("doorbell that rings Linux itself", "&hvl_link { virtio-hvl,doorbell-value = <0x10>; };",
     "one SPI twice"),
    ("doorbell of two bits", "&hvl_link { virtio-hvl,doorbell-value = <0x60>; };",
     "is not one bit"),
    ("doorbell elsewhere", "&hvl_link { reg = <0x0 0x09000000 0x0 0x4>; };",
     "is no GICD_ISPENDR"),
    ("another core",
     "&{/cpus} { hvl_other: cpu@0 { }; }; &hvl_rproc { cpus = <&hvl_other>; };",
     "cpus leads to /cpus/cpu@0, should be /cpus/cpu@1"),
    ("core that is a region", "&hvl_rproc { cpus = <&hvl_region>; };",
     "cpus leads to /reserved-memory"),
    ("core not started by PSCI", "&hvl_cpu { enable-method = \"spin-table\"; };",
     "is not a core that PSCI starts"),
    ("changed machine", "&{/pl011@9000000} { interrupts = <0 5 4>; };",
     "pl011@9000000: interrupts is no longer what"),
    ("two nodes with one phandle", ("/remoteproc@8000210", "phandle", "8001"),
     "phandle 0x8001 is given to"),
]
