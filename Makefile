# SPDX-License-Identifier: GPL-2.0
#
# virtio-hvl: `make help` says what can be made. (When a kernel tree builds the modules
# here, M=, it reads Kbuild and not this file.)
#
# Everything made goes to build/. The steps are scripts that skip what is done already,
# report how far they are and leave their logs in build/log/.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.DEFAULT_GOAL := help

top := $(CURDIR)

# The kernel's build, QEMU's options and shells each read some of these otherwise. Said here,
# not minutes later.
hash := \#
comma := ,
open := (
close := )
odd := $(foreach c,: % $$ $(hash) $(comma) $(open) $(close) & ' " ` \ ; < > | * ? [ ] { } !,$(findstring $c,$(top)))
ifneq ($(word 2,x$(top)x)$(strip $(odd)),)
$(error The path of this directory, "$(top)", has $(if $(strip $(odd)),'$(firstword $(odd))',a space) in it, which the kernel's build or a shell would misread: move it elsewhere)
endif

inroot := tools/env/inroot
jobs := $(shell nproc 2>/dev/null || echo 2)

# A kernel tree of one's own; without it Debian's kernel and our toolchain are used.
KDIR ?=
# What `make modules` wants of that tree comes with it: ARCH=, CROSS_COMPILE=, LLVM=, V=;
# and MO=, where the modules go.

gic ?= 3
cpus ?= 2

# Where further peers are: the firmware memories in dts/qemu-virt-links.dtso.
at ?= 0x76000000 0x74000000 0x71000000

# Which kernel: Debian's, current (also called stock); rt, the one with PREEMPT_RT; 16k, the one with pages of that
# size; cloud, the one for virtual machines, without remoteproc; 7.2, the series before; or debug, built here with all that sees more.
# (Of KERNEL only what stands on the command line: in an environment it is often something else.)
ifeq ($(origin KERNEL),command line)
kernel := $(KERNEL:stock=current)
endif
kernel ?= current
export HVL_KERNEL := $(kernel)

help:
	@sed -n 's/^#: \?//p' $(firstword $(MAKEFILE_LIST))

#: virtio-hvl: virtio devices by a program on the next core, with no hypervisor
#:
#:   make run              set everything up and show it: a stock Debian arm64 kernel in QEMU
#:                         with a bare-metal peer on its second core (first time: minutes)
#:   make test             set everything up and run all tests, in short forms (15 minutes)
#:                         kernel=...: only those in guests, on that kernel: rt (PREEMPT_RT),
#:                         16k (pages of 16 KiB), cloud (no remoteproc), 7.2 (the series before),
#:                         debug (KASAN, lockdep, kmemleak and the like; built here, half an hour)
#:   make test-all         the same in their long forms: more repetitions and combinations, each
#:                         script on each kind of machine, all those kernels, fuzzing, the
#:                         patches in Documentation/upstream (hours)
#:   make canary           whether the modules can be built for the newest kernel of the archive
#:   make shell            the same machine with a shell in it, devices up (Ctrl-A x leaves);
#:                         gic=2 or 3, cpus=2 to 5, kernel=... as above
#:
#:   make modules          the kernel modules, for Debian's kernel; for another one:
#:                         make modules KDIR=<its build tree> [ARCH=arm64 CROSS_COMPILE=...]
#:                         (a tree prepared with Rust: Debian's headers, that is
#:                         /lib/modules/.../build, are not one; README.md has the way)
#:   make modules_install  copy them to where modprobe looks: in INSTALL_MOD_PATH, or here
#:                         if this machine runs that kernel (KDIR= as for make modules)
#:   make peer             the peer's firmware, build/peer/hvl-peer.elf, and the same for other
#:                         addresses (at="0x76000000 ..."), hvl-peer-76000000.elf ...
#:   make dtbs             the device tree overlays, build/dtbs/
#:
#:   make check            formatting and lints
#:   make host-test        the tests that need no kernel
#:   make fuzz             look for input that breaks what reads the other side's memory, a minute
#:                         for each target; seconds=N, targets="..."
#:   make dt-check         device tree schemas, examples and merged trees
#:   make soak             the link through all that can happen to it, for so many minutes=60, by seed=1, and until
#:                         mib=0 were carried, in up to calm=1 seconds between two events: how long it
#:                         was away each time, and what was lost
#:   make bench            measure the link beside its limits, by instructions and by the clock
#:   make bench-check      by instructions only, against tools/bench/baseline.json (a minute)
#:   make bench-baseline   write that file anew, for the same commit as the change that made it so
#:   make guest            only set everything up, then: tools/qemu/vm --help
#:
#:   make clean            remove what is built of this project
#:   make distclean        remove the toolchain, the kernels and all the rest of build/ too
#:
#: DEBIAN_MIRROR=<address> names a Debian mirror other than this machine's. All of it goes
#: to build/ (8 GB) and nothing else on the machine changes, but that mmdebstrap and
#: debian-archive-keyring are installed if they are missing. Root is needed for nothing else
#: if user namespaces and /etc/subuid (package uidmap) are there for the user; where not, run
#: make as root. A chroot or a container will do if root may mount there, by CAP_SYS_ADMIN or
#: in a user namespace; /proc has to be mounted.

# --- set-up ------------------------------------------------------------------

.PHONY: help env kernel kernel-image initramfs-base initramfs-modules initramfs-fio initramfs-rt initramfs-kexec initramfs guest
env:
	@tools/env/make-root

kernel-image: env
	@tools/env/make-kernel fetch

kernel: kernel-image
	@tools/env/make-kernel

initramfs-base: env
	@tools/initramfs/make-base

initramfs-modules: kernel-image
	@tools/initramfs/make-modules

initramfs-fio: initramfs-base
	@tools/initramfs/make-programs fio

initramfs-rt: initramfs-base
	@tools/initramfs/make-programs rt

initramfs-kexec: initramfs-base
	@tools/initramfs/make-programs kexec

initramfs: initramfs-base initramfs-modules initramfs-fio initramfs-rt initramfs-kexec modules-guest peer dtbs testfw testprogs testrpmsg
	@tools/initramfs/make-project

guest:
	@$(MAKE) -j4 initramfs

# --- what is built ---------------------------------------------------------------

.PHONY: modules modules-guest modules_install peer dtbs testfw testprogs testrpmsg
testprogs := $(top)/build/guest/opt/selftests/virtio_hvl
release = $(shell cat build/kernel/$(kernel)/release 2>/dev/null)
guest_mo = $(top)/build/modules/$(release)
# (the compiler that the kernel was built with)
llvm = $(shell grep -sqx CONFIG_CC_IS_CLANG=y build/kernel/$(kernel)/obj/.config && echo LLVM=1)
kbuild_debian = $(inroot) make -C $(top)/build/kernel/$(kernel)/obj M=$(top) \
	ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- $(llvm) -j$(jobs) $(if $(V),V=$(V))
# Installing is this machine's matter, not that of the root; and as anywhere it builds
# nothing, so that nothing is built by root.
install = tools/env/modules-install

ifneq ($(KDIR),)
kdir := $(abspath $(KDIR))
kdir_release = $(shell cat $(kdir)/include/config/kernel.release 2>/dev/null)
# A tree under build/ was made with the toolchain that is there.
kdir_own := $(if $(filter $(top)/build/%,$(kdir)),,y)
kdir_make := $(if $(kdir_own),$(MAKE),$(inroot) make ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-) -j$(jobs)
mo = $(abspath $(or $(MO),build/modules/$(kdir_release)))
kbuild_kdir = $(kdir_make) -C $(kdir) M=$(top) MO=$(mo)

modules:
	@$(if $(kdir_own),,$(inroot)) tools/env/check-kdir $(kdir)
	@mkdir -p $(mo)
	+@tools/env/quiet -v modules "kernel modules" $(kbuild_kdir) modules
	@echo "modules: $(mo)/*.ko"

modules_install:
	+@$(install) $(mo) "$(kdir_release)" $(if $(wildcard $(kdir)/System.map),$(kbuild_kdir))
else
mo = $(abspath $(or $(MO),$(guest_mo)))

modules: kernel
	@mkdir -p $(mo)
	+@tools/env/quiet -v modules "kernel modules" $(kbuild_debian) MO=$(mo) modules
	@echo "modules: $(mo)/*.ko"

modules_install:
	@$(install) $(mo) "$(release)"
endif

# For the guest: with what only the tests need, and quiet unless it fails.
modules-guest: kernel
	@tools/env/quiet modules "kernel modules" $(kbuild_debian) MO=$(guest_mo) HVL_TESTS=1 modules

peer: env
	@tools/env/quiet peer "the peer's firmware" tools/env/peer-rust tools/env/make-peer $(at)

dtbs: env
	@tools/env/quiet dtbs "device tree overlays" tools/dt/build

testfw: env
	@tools/env/quiet testfw "test firmware" $(inroot) make -C $(top)/tools/testing/firmware OUT=$(top)/build/testfw

testprogs: env
	@tools/env/quiet testprogs "programs of the tests" $(inroot) make -C $(top)/tools/testing/selftests/virtio_hvl \
		OUTPUT=$(testprogs) CROSS_COMPILE=aarch64-linux-gnu- $(testprogs)/connections $(testprogs)/latency $(testprogs)/messages

testrpmsg: kernel
	@tools/env/quiet rpmsg "the kernel's drivers for rpmsg" tools/testing/rpmsg/build $(testprogs)/rpmsg

# --- use ----------------------------------------------------------------------------

.PHONY: run shell test test-all canary soak host-test fuzz dt-check check bench bench-check bench-baseline benchprogs
run: guest
	@tools/demo/run --gic $(gic) --cpus $(cpus)

shell: guest
	@tools/qemu/vm --name shell --gic $(gic) --cpus $(cpus) --kernel $(kernel)

bench: guest benchprogs
	@tools/bench/bench

bench-check: guest benchprogs
	@tools/bench/bench --check

bench-baseline: guest benchprogs
	@tools/bench/bench --baseline

benchprogs: env
	@tools/env/quiet benchprogs "the load of the benchmark" $(inroot) make -C $(top)/tools/bench OUT=$(top)/build/bench

host-test: env
	@tools/env/test-all host

fuzz: env
	@tools/fuzz/run --seconds $(or $(seconds),60) $(targets)

dt-check: env kernel-image
	@tools/env/test-all dt

test: guest
	@tools/env/test-all $(filter-out current,$(kernel))

test-all: guest
	@tools/env/test-all --long

canary: env
	@tools/env/canary

soak: guest
	@tools/testing/run --machine gicv3-2cpu --set HVL_SOAK=$$(($(or $(minutes),60) * 60)) \
		--set HVL_SEED=$(or $(seed),1) --set HVL_SOAK_MIB=$(or $(mib),0) \
		--set HVL_CALM=$(or $(calm),1) soak

check: kernel
	@tools/env/lint

# --- removal -------------------------------------------------------------------------

.PHONY: clean distclean
clean:
	rm -rf build/modules build/peer build/dtbs build/testfw build/guest build/clippy build/host-tests build/fuzz \
		build/bench build/tmp build/log build/initramfs/project*

# Nothing is mounted there for longer than a command runs; files of other users' names
# (an ordinary user's root) go with the namespace that made them.
distclean:
	@if grep -qF " $(top)/build/root/" /proc/self/mountinfo; then \
		echo "distclean: something is mounted below build/root: unmount it first" >&2; exit 1; fi
	@echo "removing build/ ($$(du -sh build 2>/dev/null | cut -f1))"
	@rm -rf --one-file-system build 2>/dev/null || \
		unshare --user --map-root-user --map-auto rm -rf --one-file-system build
