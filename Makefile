# SPDX-License-Identifier: GPL-2.0-or-later
#
# samara: one Makefile for everything; `make help` lists what it can do.

LOCK    ?= region
SAN     ?=
BREAK   ?=
LIBVIRT ?= 1
PREFIX  ?= /usr/local
VERSION := 0.1.0
ifeq ($(origin CC),default)
CC := gcc
endif

# build/LOCK for the default compiler, a folder below it for every other variant. Only the lock
# design itself differs between them: objects, and the libraries without it, are shared.
VARIANT := $(filter-out gcc,$(CC)) $(SAN) $(if $(filter 0,$(LIBVIRT)),novirt)
EMPTY   :=
COMMA   := ,
VARIANT := $(if $(strip $(VARIANT)),/$(subst $(EMPTY) $(EMPTY),-,$(strip $(VARIANT))))
B := build/$(LOCK)$(VARIANT)
O := build/common$(VARIANT)
Q := $(if $(V),,@)

.DEFAULT_GOAL := all
.PHONY: all demo check lab lint bench compare compare-build fuzz install clean help packages tests
.DELETE_ON_ERROR:
.SECONDARY:

ifeq ($(wildcard mm/lock_$(LOCK).c),)
$(error LOCK=$(LOCK): there is no such lock design; choose one of $(patsubst mm/lock_%.c,%,$(wildcard mm/lock_*.c)))
endif
ifneq ($(filter-out thread address undefined address$(COMMA)undefined,$(SAN)),)
$(error SAN=$(SAN): choose one of thread, address, undefined; or address,undefined)
endif

# ---- What is compiled -------------------------------------------------------------------------

MM_SRC   := $(filter-out mm/lock_%.c,$(wildcard mm/*.c)) mm/lock_$(LOCK).c
DEV_SRC  := $(wildcard devices/*.c)
VMM_SRC  := $(filter-out vmm/main.c vmm/inject_wrap.c $(if $(filter 0,$(LIBVIRT)),vmm/domain_xml%.c,vmm/domain_none.c),$(wildcard vmm/*.c))
TEST_SRC := $(wildcard tests/unit/*.c tests/torture/*.c tests/kvm/*.c)
TESTLIB_SRC := $(filter-out tests/lib/straw_%,$(wildcard tests/lib/*.c tests/torture/*/*.c))
TESTS    := $(TEST_SRC:%.c=$(B)/%)

CPPFLAGS := -Iinclude -I. -I$(O) -D_GNU_SOURCE -DSAMARA_VERSION='"$(VERSION)"'
CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wvla
C_ALL     = -std=gnu11 $(WARN) $(CFLAGS) -pthread -fPIC -fvisibility=default $(SAN:%=-fsanitize=%) \
            $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined) $(if $(SAN),-fno-omit-frame-pointer -DSAMARA_DEBUG=1)

# Found when first needed: `make packages` must run on a machine that has no pkg-config yet.
VMM_PKGS  := jansson libarchive libmicrohttpd smartcols $(if $(filter 0,$(LIBVIRT)),,libvirt libxml-2.0)
MM_LIBS    = $(shell pkg-config --libs liburcu-bp numa)
VMM_CFLAGS = $(shell pkg-config --cflags $(VMM_PKGS))
VMM_LIBS   = $(shell pkg-config --libs $(VMM_PKGS)) $(MM_LIBS) -lm
TEST_LIBS  = $(shell pkg-config --libs cmocka) $(VMM_LIBS)

BREAKS := drain lock barrier discard virtio-mem balloon reback

ifneq ($(filter-out $(BREAKS),$(BREAK)),)
$(error BREAK=$(BREAK): choose one of $(BREAKS))
endif
ifneq ($(if $(BREAK),$(filter-out region,$(LOCK))),)
$(error BREAK=$(BREAK): only LOCK=region can be broken on purpose)
endif

all: $(if $(BREAK),$(B)/broken-$(BREAK)/samara,$(B)/samara $(B)/libsamara-mm.so)

$(B)/libsamara-mm.a: $(MM_SRC:%.c=$(O)/%.o)
$(O)/libdevices.a: $(DEV_SRC:%.c=$(O)/%.o)
$(O)/libvmm.a: $(VMM_SRC:%.c=$(O)/%.o) $(O)/vmm/stress_image.o
$(O)/libtest.a: $(TESTLIB_SRC:%.c=$(O)/%.o)
%.a:
	@echo "  AR      $@"
	$(Q)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $^

$(B)/libsamara-mm.so.0: $(MM_SRC:%.c=$(O)/%.o) mm/libsamara-mm.map
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) -shared -Wl,-soname,libsamara-mm.so.0 -Wl,--version-script=mm/libsamara-mm.map \
		$(SAN:%=-fsanitize=%) -o $@ $(filter %.o,$^) $(MM_LIBS) -pthread

$(B)/libsamara-mm.so: $(B)/libsamara-mm.so.0
	$(Q)ln -sf $(<F) $@

# Calls of our own code that --inject (vmm/inject_wrap.c) and tests/lib/interpose.c can make fail.
WRAPPED := malloc calloc realloc posix_memalign mmap madvise fallocate ioctl mremap

SAMARA_OBJ := $(O)/vmm/main.o $(O)/vmm/inject_wrap.o

$(B)/samara: $(SAMARA_OBJ) $(O)/libvmm.a $(O)/libdevices.a $(B)/libsamara-mm.a
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(SAN:%=-fsanitize=%) $(WRAPPED:%=-Wl,--wrap=%) -o $@ $^ $(VMM_LIBS) -pthread

# With a fault put in on purpose (mm/broken.h, devices/broken.h): only one object differs, and comes
# before the archive's.
$(patsubst %,$(O)/broken-%.o,drain lock barrier): mm/lock_$(LOCK).c
$(O)/broken-discard.o: mm/plug.c
$(O)/broken-reback.o: mm/reback.c
$(O)/broken-virtio-mem.o: devices/virtio_mem.c
$(O)/broken-balloon.o: devices/virtio_balloon_pages.c
$(BREAKS:%=$(O)/broken-%.o): $(O)/broken-%.o:
	@echo "  CC      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -DBROKEN_$(shell echo $* | tr a-z- A-Z_)=1 $(C_ALL) -MMD -MP -c -o $@ $(firstword $(filter %.c,$^))
$(BREAKS:%=$(B)/broken-%/samara): $(B)/broken-%/samara: $(SAMARA_OBJ) $(O)/broken-%.o $(O)/libvmm.a $(O)/libdevices.a $(B)/libsamara-mm.a
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(SAN:%=-fsanitize=%) $(WRAPPED:%=-Wl,--wrap=%) -o $@ $^ $(VMM_LIBS) -pthread

$(O)/%.o: %.c
	@echo "  CC      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(if $(filter vmm/% tests/%,$<),$(VMM_CFLAGS)) $(C_ALL) -MMD -MP -c -o $@ $<

# ---- Generated: ACPI tables by iasl, the stress guest and the agent as ELF images within samara -------

$(O)/vmm/acpi.o: $(O)/vmm/dsdt.hex $(O)/vmm/memory_hotplug.hex $(O)/vmm/second_serial.hex
$(O)/vmm/dsdt.hex: vmm/dsdt.asl vmm/virtio.asl vmm/virtio_slots.h devices/power_registers.h
	@echo "  IASL    $@"
	$(Q)mkdir -p $(@D) && iasl -tc -p $(O)/vmm/dsdt $< > $(O)/vmm/dsdt.log 2>&1 || { cat $(O)/vmm/dsdt.log; exit 1; }

$(O)/vmm/second_serial.hex: vmm/second_serial.asl
	@echo "  IASL    $@"
	$(Q)mkdir -p $(@D) && iasl -tc -p $(O)/vmm/second_serial $< > $(O)/vmm/second_serial.log 2>&1 || \
		{ cat $(O)/vmm/second_serial.log; exit 1; }

# Its macros take the C preprocessor.
$(O)/vmm/memory_hotplug.hex: vmm/memory_hotplug.asl devices/memory_hotplug_registers.h
	@echo "  IASL    $@"
	$(Q)mkdir -p $(@D) && $(CC) -E -P -undef -x c $< -o $(O)/vmm/memory_hotplug.i && \
		{ iasl -tc -p $(O)/vmm/memory_hotplug $(O)/vmm/memory_hotplug.i > $(O)/vmm/memory_hotplug.log 2>&1 || \
		{ cat $(O)/vmm/memory_hotplug.log; exit 1; }; }

GUEST_CFLAGS := -std=gnu11 $(WARN) -O2 -g0 -ffreestanding -fno-stack-protector -fno-pic -fno-pie -mcmodel=small \
                -mgeneral-regs-only -mno-red-zone -fno-asynchronous-unwind-tables -fcf-protection=none
AGENT_SRC := $(wildcard guest/agent*.c)
GUEST_OBJ := $(patsubst %.c,$(O)/%.o,$(filter-out $(AGENT_SRC),$(wildcard guest/*.c))) $(patsubst %.S,$(O)/%.o,$(wildcard guest/*.S))

$(O)/guest/%.o: guest/%.c
	@echo "  GUESTCC $@"
	$(Q)mkdir -p $(@D) && $(CC) -Iinclude -I. $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<
$(O)/guest/%.o: guest/%.S
	@echo "  GUESTAS $@"
	$(Q)mkdir -p $(@D) && $(CC) -Iinclude -I. $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<
$(O)/guest/stress.elf: $(GUEST_OBJ) guest/stress.ld
	@echo "  GUESTLD $@"
	$(Q)ld -nostdlib -static -z max-page-size=4096 -z noexecstack -T guest/stress.ld -o $@ $(GUEST_OBJ)
# A program of Linux, for whatever runs in the guest: with the C library in it, and without sanitizers.
$(O)/guest/agent.elf: $(AGENT_SRC) $(wildcard guest/*.h) vmm/stress_rng.h
	@echo "  AGENTCC $@"
	$(Q)mkdir -p $(@D) && $(CC) -Iinclude -I. -D_GNU_SOURCE -std=gnu11 $(WARN) -O2 -static -s -pthread \
		-o $@ $(AGENT_SRC) -lm
$(O)/vmm/stress_image.o: vmm/stress_image.S $(O)/guest/stress.elf $(O)/guest/agent.elf
	@echo "  AS      $@"
	$(Q)mkdir -p $(@D) && $(CC) -I$(O) -c -o $@ $<

# ---- Tests --------------------------------------------------------------------------------------

tests: all $(TESTS) $(if $(filter region,$(LOCK)),$(BREAKS:%=$(B)/broken-%/samara))

$(B)/tests/%: $(O)/tests/%.o $(O)/libtest.a $(O)/libvmm.a $(O)/libdevices.a $(B)/libsamara-mm.a
	@echo "  LD      $@"
	$(Q)mkdir -p $(@D) && $(CC) $(SAN:%=-fsanitize=%) $(WRAPPED:%=-Wl,--wrap=%) -o $@ \
		$(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(TEST_LIBS) -pthread

# Programs with a VM of straw, and those where guest memory is of straw, too: vm_*() and guest_mm_*() of
# their own keep the archives' out. In libtest.a they would do that to each program that calls one.
$(filter $(B)/tests/unit/test_qmp%,$(TESTS)): $(O)/tests/lib/straw_vm.o
$(patsubst %,$(B)/tests/unit/test_%,qmp qmp_client qmp_clients qmp_socket): $(O)/tests/lib/straw_mm.o

# Fuzz targets, with clang's libFuzzer; the lock design is the one given, all else is fixed.
FUZZ_B   := build/$(LOCK)/fuzz
FUZZ_OBJ := $(patsubst %.c,$(FUZZ_B)/obj/%.o,$(MM_SRC) $(DEV_SRC))
FUZZ     := $(patsubst tests/fuzz/%.c,$(FUZZ_B)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_C   := clang $(CPPFLAGS) -std=gnu11 $(WARN) -O1 -g -pthread -fno-omit-frame-pointer

fuzz: $(FUZZ)

$(FUZZ_B)/obj/%.o: %.c
	@echo "  FUZZCC  $@"
	$(Q)mkdir -p $(@D) && $(FUZZ_C) -fsanitize=fuzzer-no-link,address -MMD -MP -c -o $@ $<
$(FUZZ_B)/fuzz_%: $(FUZZ_B)/obj/tests/fuzz/fuzz_%.o $(FUZZ_OBJ)
	@echo "  FUZZLD  $@"
	$(Q)clang -fsanitize=fuzzer,address -o $@ $^ $(MM_LIBS) -pthread

check: packages
	$(Q)tests/check
lab: packages
	$(Q)tests/lab/run $(CASES)
demo: packages
	$(Q)tests/setup/demo
packages:
	$(Q)tests/setup/packages
lint:
	$(Q)tests/lint

# make fuzz SECONDS=N runs each for that long, too. What one needs besides the library is named here.
$(FUZZ_B)/fuzz_maple: $(patsubst %.c,$(FUZZ_B)/obj/%.o,$(wildcard tests/lib/maple_driver*.c tests/lib/maple_model.c))
fuzz: $(if $(SECONDS),$(FUZZ:%=%-run))
$(FUZZ_B)/fuzz_%-run: $(FUZZ_B)/fuzz_%
	$< -max_total_time=$(SECONDS) -max_len=16384 -artifact_prefix=$<-

# ---- Benches: make bench BENCH=maple; tests/bench/README.md --------------------------------------

# Contestants define the same names (the kernel's), so each becomes one object that exports only
# what the bench calls. All are compiled alike; the kernel's file, which stays where it is, with
# the dialect it is written in.
BENCH ?= maple
BENCH_MAPLE := $(if $(MAPLE_KERNEL_SRC),maple-kernel,maple)
BENCH_WHO   := samara rbtree array $(if $(MAPLE_KERNEL_SRC),kernel)
BENCH_MAIN  := maple maple_input maple_companion maple_report
KERNEL_HEADERS := linux/kernel linux/rcupdate linux/spinlock linux/xarray linux/types linux/export \
                  linux/slab linux/limits asm/barrier trace/events/maple_tree

# Benches of the lock designs: each is a build of its own; versus has them take turns.
BENCH_LOCKS  ?= region region-membarrier spf rwsem refcount range single
BENCH_ROUNDS ?= 21
BENCH_SLOW_ROUNDS ?= 5
BENCH_LOADS  ?= touch faults start pool zerocopy
BENCH_CELL   := $(O)/tests/bench/cell.o $(B)/libsamara-mm.a
BENCH_CELLS  := $(patsubst %,$(B)/tests/bench/%,locks stall ops loads timeline)

bench: packages bench-$(BENCH)
bench-locks bench-stall: bench-%: $(B)/tests/bench/versus
	$(Q)for lock in $(BENCH_LOCKS); do $(MAKE) --no-print-directory LOCK=$$lock build/$$lock/tests/bench/$* >&2 || exit 1; done
	$(Q)$< $(BENCH_ROUNDS) $* tests/bench/$*.ratios $(if $(filter locks,$*),"rcu=build/region/tests/bench/locks rcu") \
		$(foreach lock,$(BENCH_LOCKS),"$(lock)=build/$(lock)/tests/bench/$*")
bench-ops bench-loads: bench-%: $(B)/tests/bench/versus
	$(Q)for lock in $(BENCH_LOCKS); do $(MAKE) --no-print-directory LOCK=$$lock build/$$lock/tests/bench/$* >&2 || exit 1; done
	$(Q)for load in $(if $(filter loads,$*),$(BENCH_LOADS),ops); do \
		set --; [ $$load != touch ] || \
			set -- "plain=build/region/tests/bench/loads touch plain" "huge=build/region/tests/bench/loads touch huge"; \
		$< $(BENCH_SLOW_ROUNDS) $(if $(filter loads,$*),load.)$$load tests/bench/$$load.ratios "$$@" \
			$(foreach lock,$(BENCH_LOCKS),"$(lock)=build/$(lock)/tests/bench/$* $$load") || exit 1; done
$(B)/tests/bench/versus: $(O)/tests/bench/versus.o
$(BENCH_CELLS): $(B)/tests/bench/%: $(O)/tests/bench/%.o $(BENCH_CELL)
$(B)/tests/bench/versus $(BENCH_CELLS):
	@echo "  LD      $@" >&2
	$(Q)mkdir -p $(@D) && $(CC) $(SAN:%=-fsanitize=%) -o $@ $^ $(MM_LIBS) -pthread

# samara beside QEMU, in the lab. What runs there stands alone.
HOTPLUG := $(B)/tests/bench/hotplug

bench-hotplug: $(HOTPLUG)/meter $(HOTPLUG)/agent $(B)/tests/bench/versus
	$(Q)tests/bench/hotplug/run $(HOTPLUG) $(B)/tests/bench/versus
$(HOTPLUG)/meter: $(patsubst %,$(O)/tests/bench/hotplug/%.o,meter qmp share trace)
$(HOTPLUG)/agent: $(O)/tests/bench/hotplug/agent.o
$(HOTPLUG)/meter $(HOTPLUG)/agent:
	@echo "  LD      $@" >&2
	$(Q)mkdir -p $(@D) && $(CC) -static -o $@ $^

bench-sim:
	$(Q)python3 tests/bench/sim/sim.py --out build/sim $(ARGS)
	$(Q)gnuplot -e "folder='build/sim'" tests/bench/sim/plot.gp && echo "build/sim: sim.json, sim.svg, sim.png"

# ---- Every lock design side by side: make compare [QUICK=1]; docs/comparison.md -----------------------

# Only what COMPARE_PARTS names is linked anew for each design; the objects are shared.
COMPARE_PARTS := samara $(patsubst %,tests/bench/%,locks stall ops loads timeline)

compare: packages compare-build
	$(Q)python3 tests/bench/compare/compare.py --variants "$(BENCH_LOCKS)" $(if $(QUICK),--seconds 100 --stress-seconds 1) $(ARGS)
compare-build:
	$(Q)for lock in $(BENCH_LOCKS); do \
		$(MAKE) -s --no-print-directory LOCK=$$lock $(COMPARE_PARTS:%=build/$$lock/%) || exit 1; done

bench-maple: $(B)/tests/bench/$(BENCH_MAPLE)
	$(Q)$< $(ARGS)

$(B)/tests/bench/$(BENCH_MAPLE): $(BENCH_MAIN:%=$(O)/tests/bench/%.o) $(BENCH_WHO:%=$(O)/tests/bench/only_%.o)
	@echo "  LD      $@" >&2
	$(Q)mkdir -p $(@D) && $(CC) $(SAN:%=-fsanitize=%) -o $@ $^ $(MM_LIBS) -pthread

$(O)/tests/bench/only_samara.o: $(O)/tests/bench/maple_samara.o $(B)/libsamara-mm.a
$(O)/tests/bench/only_rbtree.o: $(O)/tests/bench/maple_rbtree.o
$(O)/tests/bench/only_array.o: $(O)/tests/bench/maple_array.o
$(O)/tests/bench/only_kernel.o: $(O)/tests/bench/maple_kernel.o $(O)/tests/bench/kernel_nodes.o $(O)/tests/bench/kernel_tree.o
$(O)/tests/bench/only_%.o:
	@echo "  LD      $@" >&2
	$(Q)ld -r -o $@ $^ && objcopy --keep-global-symbol=bench_$* $@

$(O)/tests/bench/maple_kernel.o $(O)/tests/bench/kernel_nodes.o: $(O)/tests/bench/headers
$(O)/tests/bench/maple_kernel.o $(O)/tests/bench/kernel_nodes.o: WARN := -w -fno-strict-aliasing
$(O)/tests/bench/maple_kernel.o $(O)/tests/bench/kernel_nodes.o: CPPFLAGS := -I$(O)/tests/bench/headers -I. -D_GNU_SOURCE
$(O)/tests/bench/kernel_tree.o: $(MAPLE_KERNEL_SRC)/lib/maple_tree.c $(O)/tests/bench/headers
	@echo "  CC      $@" >&2
	$(Q)$(CC) -I$(O)/tests/bench/headers -I. -D_GNU_SOURCE -w -fno-strict-aliasing $(filter-out $(WARN),$(C_ALL)) -c -o $@ $<
$(O)/tests/bench/headers: Makefile tests/bench/kernel_shim.h
	$(Q)rm -rf $@ && mkdir -p $@/linux $@/asm $@/trace/events
	$(Q)for header in $(KERNEL_HEADERS); do echo '#include "tests/bench/kernel_shim.h"' > $@/$$header.h; done
	$(Q)ln -s $(abspath $(MAPLE_KERNEL_SRC))/include/linux/maple_tree.h $@/linux/

# ---- Installation ---------------------------------------------------------------------------------

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/samara
	install -m 755 $(B)/samara $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(B)/libsamara-mm.a $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(B)/libsamara-mm.so.0 $(DESTDIR)$(PREFIX)/lib/
	ln -sf libsamara-mm.so.0 $(DESTDIR)$(PREFIX)/lib/libsamara-mm.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' mm/libsamara-mm.pc.in \
		> $(DESTDIR)$(PREFIX)/lib/pkgconfig/libsamara-mm.pc
	install -m 644 include/samara/*.h $(DESTDIR)$(PREFIX)/include/samara/

clean:
	rm -rf build

help:
	@echo "make            build samara and libsamara-mm into build/LOCK"
	@echo "make demo       boot a stock Debian kernel, then change guest memory under load"
	@echo "make check      every test; ends with 'N passed, N failed, N skipped'"
	@echo "make lab        the cases on real nested paging in an emulated machine (CASES='GLOB ...', EVERY=1)"
	@echo "make bench      figures of a component (BENCH=maple|locks|stall|ops|loads|hotplug|sim, ARGS; MAPLE_KERNEL_SRC=DIR adds the"
	@echo "                kernel's tree to maple; sim predicts lock designs for 1 to 1024 vCPUs)"
	@echo "make compare    every lock design on the same workloads: table, JSON, plots in build/compare (QUICK=1: two minutes)"
	@echo "make lint       formatting and static checks"
	@echo "make fuzz       the fuzz targets; SECONDS=N runs each that long"
	@echo "make install    into PREFIX (/usr/local), DESTDIR respected"
	@echo "make clean      remove build/"
	@echo "Variables: LOCK=$(subst $(EMPTY) $(EMPTY),|,$(sort $(patsubst mm/lock_%.c,%,$(wildcard mm/lock_*.c)))) CC=gcc|clang SAN=thread|address|undefined|address,undefined LIBVIRT=0|1 V=1"
	@echo "BREAK=$(subst $(EMPTY) $(EMPTY),|,$(BREAKS)) builds build/region/broken-BREAK/samara, with a fault for tests to find"

-include $(shell find $(O) $(FUZZ_B) -name '*.d' 2>/dev/null)
