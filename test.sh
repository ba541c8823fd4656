#!/bin/sh
# usage: ./test.sh [--all]
# Installs the packages it needs from Debian, builds with gcc and clang, and runs all
# suites. They run plain with gcc, and those without namespaces also with ASan and
# UBSan with clang. Tests with threads run under ThreadSanitizer. Needs root for the
# namespaces that some tests make. The last line counts all tests that ran.
#
# With --all it takes more than twice as long; run it before a release. Then tests that
# wait for minutes (the suite long) run, and those with namespaces also with ASan and
# UBSan. The suites unit, fault and io and the test netns/core run also for i386, with
# musl, and for libudpgather alone. The container image of the static program is tested.
# clang-tidy runs. A part of the suites runs on an older kernel of Debian in QEMU.
# Frama-C proves that parsers stay within their bytes (the suite proof).
set -eu
cd "$(dirname "$0")"
all=
case $# in
0) ;;
*)
	if [ $# -ne 1 ] || [ "$1" != --all ]; then
		echo "test.sh: unknown argument: $*; usage: ./test.sh [--all]" >&2
		exit 2
	fi
	all=yes
	;;
esac
if [ "$(id -u)" -ne 0 ]; then
	echo "test.sh: needs root, to make network namespaces" >&2
	exit 1
fi
tools/install-deps
# Other implementations of WireGuard. Without them the interop tests skip.
tests/interop/install-deps build/interop ||
	echo "test.sh: no interop tests with what is missing"
# Prometheus, for the test of the metrics. Without it that test skips.
tools/get-prometheus build/prometheus ||
	echo "test.sh: no Prometheus"
# A static program with musl. The test of the container image needs it.
if [ -n "$all" ]; then
	tools/static build/static || {
		echo "test.sh: no static program, so no test of the image"
		rm -f build/static/wiregather
	}
	tools/get-frama-c build/frama-c || echo "test.sh: no Frama-C, so no proofs"
fi

logs=
status=0

# Many tests wait most of their time, so one more runs than there are processors.
at_once=$(($(nproc) + 1))

# Run suites of a build.
run() { # name, directory, suites...
	name=$1 dir=$2
	shift 2
	echo
	echo "== $name"
	rm -f "$dir"/meson-logs/testlog*.junit.xml
	# shellcheck disable=SC2086
	meson test -C "$dir" --no-rebuild --print-errorlogs \
		--num-processes "$at_once" "$@" ||
		status=1
	logs="$logs $dir"
}

echo "== build: gcc"
[ -e build/build.ninja ] || meson setup build -Dwerror=true >/dev/null
ninja -C build --quiet

background=
trap '[ -z "$background" ] || kill "$background" 2>/dev/null || :' EXIT
trap 'exit 1' INT TERM
if [ -n "$all" ]; then
	# Fetch an older kernel of Debian in the background. It is needed at the end.
	kernel=build/kernels/bookworm
	mkdir -p "$kernel"
	tools/old-kernel bookworm "$kernel" >"$kernel/fetch.log" 2>&1 &
	background=$!
fi

if [ -n "$all" ]; then
	run "gcc" build
else
	run "gcc" build --no-suite long --no-suite proof
fi

echo
echo "== build: clang, ASan and UBSan"
tools/build-variant asan
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
if [ -n "$all" ]; then
	run "clang, ASan and UBSan" build-asan --no-suite style --no-suite interop
else
	run "clang, ASan and UBSan" build-asan --no-suite style --no-suite interop \
		--no-suite netns
fi

echo
echo "== build: clang, ThreadSanitizer"
tools/build-variant tsan
export TSAN_OPTIONS=halt_on_error=1
run "clang, ThreadSanitizer" build-tsan --suite threads
unset ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS

if [ -z "$all" ]; then
	echo
	# shellcheck disable=SC2086 # a list of directories
	tools/count-tests $logs || status=1
	exit "$status"
fi

# Build a variant, and run natively the suites in which the kernel is called. The
# calls differ on 32 bits and with another C library.
others() { # variant
	echo
	echo "== build: $1"
	result=0
	tools/build-variant "$1" || result=$?
	case $result in
	0) run "$1" "build-$1" --suite unit --suite fault --suite io --suite core ;;
	77) echo "test.sh: skipped $1: its packages cannot be had" ;;
	*) status=1 not_built="$not_built --failed $1" ;;
	esac
}
not_built=
others i386
others musl
others library

# Run the older kernel beside clang-tidy. The emulation takes much of a processor,
# and at this time no other test runs that a busy machine could disturb.
began=$(date +%s)
has_kernel=
if wait "$background"; then
	has_kernel=yes
	tests/kernels/run.py build "$kernel" --quick >"$kernel/test.log" 2>&1 &
	background=$!
	logs="$logs $kernel"
fi

echo
echo "== clang-tidy"
tidy=--passed
tools/tidy build-asan || tidy=--failed

echo
echo "== Linux of Debian 12, emulated"
if [ -n "$has_kernel" ]; then
	waits=$(date +%s)
	# The result is among those that count-tests prints below.
	wait "$background" || :
	background=
	cat "$kernel/test.log"
	now=$(date +%s)
	echo "test.sh: $((now - began)) s, $((now - waits)) s after clang-tidy"
else
	cat "$kernel/fetch.log"
	echo "test.sh: skipped the older kernel: it cannot be had"
fi

echo
# shellcheck disable=SC2086 # a list of directories
tools/count-tests "$tidy" clang-tidy $not_built $logs ||
	status=1
exit "$status"
