# Meson does the work. These are short names for common tasks; `make help` lists them.
BUILD ?= build
PREFIX ?= /usr/local
MESON_FLAGS ?=
# Warnings are errors. WERROR=false leaves them warnings, as for another compiler.
WERROR ?= true

all: $(BUILD)/build.ninja ## build everything into build/
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD) -Dwerror=$(WERROR) $(MESON_FLAGS)

check: all ## run all suites of the plain build
	meson test -C $(BUILD) --print-errorlogs

asan: ## clang, AddressSanitizer and UBSan: build and run the suites
	tools/build-variant asan && meson test -C build-asan --print-errorlogs

tsan: ## clang, ThreadSanitizer: build and run the tests that have threads
	tools/build-variant tsan && meson test -C build-tsan --print-errorlogs --suite threads

fuzz: ## run each fuzzer for FUZZ_SECONDS (default 60)
	tools/fuzz $(FUZZ_SECONDS)

fuzz-coverage: ## lines and branches that the fuzzers' corpora reach
	tools/coverage fuzz

coverage: ## lines and branches that the suites reach; HTML in build-coverage/
	tools/coverage

trains: all ## simulate each kind of path SIM_RUNS (default 10000) times: are lost trains found?
	SIM_RUNS=$(or $(SIM_RUNS),10000) $(BUILD)/tests/sim/test_sim_trainwatch

# SILENT="chance: loss" runs only the parts with these words in their names. Each part
# adds its figures to the file RESULTS. The tables show all figures of the file, so
# the parts can be run one by one.
silent: all ## the watch over trains: obstacles of two minutes, pairs of runs over bad paths, BBR; half an hour
	ninja -C $(BUILD) silent-long
	@export RESULTS=$(or $(RESULTS),$(BUILD)/silent.json) status=0 \
		CABLE=$(abspath $(BUILD))/tests/netns/cable \
		UNWATCHED=$(BUILD)/tests/netns/unwatched; \
	timeout 3600 tests/netns/silent_long.py $(BUILD)/wiregather "$(SILENT)" || \
		status=1; \
	tests/netns/silent_long.py table || status=1; exit $$status

soak: ## a tunnel under mixed traffic for SOAK_SECONDS (default 3600), ASan+UBSan
	tools/soak $(or $(SOAK_SECONDS),3600)

faults: all ## each system call, and each allocation, of the daemon fails once
	FAULTS=all python3 tests/netns/syscalls.py $(or $(DAEMON),$(BUILD)/wiregather)

# CHAOS_SEED=N repeats a run; CHAOS_DAEMON=build/wiregather: without sanitizers.
chaos: ## a tunnel under random events, for CHAOS_SECONDS (default 120)
	tools/chaos $(or $(CHAOS_SECONDS),120) $(CHAOS_DAEMON)

attack: all ## floods of full size: memory, throughput of a session meanwhile, new peers
	ATTACK=full FLOOD=$(BUILD)/tests/netns/flood timeout 600 \
		tests/netns/attack.py $(BUILD)/wiregather figures
	ATTACK=full FLOOD=$(BUILD)/tests/netns/flood timeout 1200 \
		tests/netns/newcomers.py $(BUILD)/wiregather

interop: all ## tunnels with wireguard-go and the kernel's WireGuard; INTEROP=quick waits less
	-tests/interop/install-deps $(BUILD)/interop
	INTEROP=$(or $(INTEROP),full) meson test -C $(BUILD) --suite interop --print-errorlogs

# Frama-C is fetched once from Debian, and not installed.
proof: all ## proofs by Frama-C that parsers stay within the bytes that they were given
	tools/get-frama-c $(BUILD)/frama-c
	meson test -C $(BUILD) --suite proof --print-errorlogs

fleet: all ## programs that manage or watch WireGuard, over wiregather; built by go and cargo
	-tests/fleet/get $(BUILD)/fleet
	tests/fleet/fleet.py $(BUILD)/wiregather $(BUILD)/fleet

KERNELS = bullseye bookworm trixie
old-kernels: all ## the suites platform and io, and the core of netns, on Debian's older kernels, in QEMU
	@status=0; for suite in $(KERNELS); do \
		tools/old-kernel $$suite $(BUILD)/kernels/$$suite && \
		tests/kernels/run.py $(BUILD) $(BUILD)/kernels/$$suite || status=1; \
	done; exit $$status

ARCHITECTURES = arm64 armhf i386 mips64el ppc64el riscv64 s390x
cross: ## build for other architectures, run the unit and fault suites
	@status=0; for arch in $(ARCHITECTURES); do \
		echo "== $$arch"; tools/cross $$arch || status=1; \
	done; exit $$status

tidy: ## clang-tidy: limits of size, bug patterns
	tools/build-variant clang && tools/tidy build-clang

format: ## lay out the sources
	git ls-files '*.c' '*.h' | xargs clang-format -i

bench: all ## run all benchmarks, half an hour; PEERS=DIR has other programs to compare with
	bench/run.py $(BENCH_FLAGS) $(BUILD)

bench-quick: all ## run all benchmarks briefly, in a few minutes, to see that they work
	bench/run.py --quick $(BENCH_FLAGS) $(BUILD)

bench-tunnel: all ## measure only the tunnels, of wiregather and other programs
	bench/run.py --parts tunnel $(BENCH_FLAGS) $(BUILD)

bench-traffic: all ## measure what has a bar, and make one table; PEERS=DIR; 10 minutes
	bench/traffic.py --out $(BUILD)/bench $(BENCH_FLAGS) $(BUILD)/wiregather

bench-udp: all ## measure only the ways to send UDP datagrams
	bench/udp.py $(BENCH_FLAGS) $(BUILD)/bench/bench-udp $(BUILD)/bench

bench-relay: all ## measure only the ways to forward UDP datagrams
	bench/relay.py $(BENCH_FLAGS) $(BUILD) $(BUILD)/bench

bench-quic: all ## measure only QUIC: CPU time of its ends, with three ways to move packets
	bench/quic.py $(BENCH_FLAGS) $(BUILD) $(BUILD)/bench

bench-command: all ## measure only a tunnel for one command, beside programs of registries
	bench/get-command-peers $(BUILD)/command-peers
	PEERS=$(BUILD)/command-peers bench/command.py $(BENCH_FLAGS) $(BUILD)

bench-pmtu: all ## measure only TCP over a path of 1,400 bytes, with --pmtu=discover
	bench/pmtu.py $(BENCH_FLAGS) $(BUILD)/wiregather

bench-upgrade: all ## measure only upgrades of running tunnels under load; 7 minutes
	bench/upgrade.py $(BENCH_FLAGS) $(BUILD)

bench-start: all ## measure only how long a daemon takes to start
	bench/start.py $(BENCH_FLAGS) $(BUILD)/wiregather

bench-idle: all ## measure only the memory of an idle daemon; PROGRAMS: other builds before it
	bench/idle.py $(BENCH_FLAGS) $(PROGRAMS) $(BUILD)/wiregather

bench-docs: ## put the last results into docs/performance.md
	bench/report.py --docs docs/performance.md $(BUILD)/bench

guard-record: all ## record what a packet costs, for the test "instructions"
	ninja -C $(BUILD) guard-record

.PHONY: abi-reference
# The reference is that of version 1.0. It is made anew only for a new major version.
abi-reference: all ## record the binary interface of the library, for the test "abi"
	tests/api/abi.py reference cc $(BUILD)/libudpgather.so include/udpgather.h tests/api

install: all ## install program, library, header, manual pages, unit, completion
	meson configure $(BUILD) -Dprefix=$(abspath $(PREFIX))
	DESTDIR=$(abspath $(DESTDIR)) meson install -C $(BUILD)
ifeq ($(DESTDIR),)
	@PATH=$$PATH:/usr/sbin:/sbin ldconfig 2>/dev/null || \
		echo "ldconfig failed: the loader may not find the library yet"
endif

uninstall: all ## remove what install, with the same PREFIX and DESTDIR, put there
	meson configure $(BUILD) -Dprefix=$(abspath $(PREFIX))
	ninja -C $(BUILD) --quiet build.ninja
	DESTDIR=$(abspath $(DESTDIR)) tools/uninstall $(BUILD)

deb: ## Debian packages into build/deb/, built twice and compared, checked by lintian
	tools/deb $(BUILD)/deb

deb-trial: deb ## install these packages in an overlay, run debian/tests, remove them
	tools/deb-trial $(BUILD)/deb

dist-library: ## a tarball of libudpgather alone, in build/dist/
	tools/dist-library $(BUILD)/dist

static: static-native ## static programs, with musl: build/static/, and build/static-arm64/ for arm64
	tools/static build/static-arm64 arm64

static-native:
	tools/static

image: static-native ## a container image of the static program: build/image/ and build/image.tar
	tools/image
	tests/api/image.py build/static/wiregather

clean: ## remove all build directories
	rm -rf build build-*

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: all check asan tsan fuzz fuzz-coverage coverage trains silent soak faults chaos attack interop proof fleet old-kernels cross \
	tidy format bench bench-quick bench-tunnel bench-traffic bench-udp bench-relay bench-quic bench-command bench-pmtu bench-upgrade bench-start bench-idle bench-docs guard-record install uninstall deb deb-trial dist-library static static-native image clean help
