#!/bin/sh
# Builds libudpgather in two places, as for a package, without tests and
# benchmarks. No file of the tests may be compiled. The two libraries must be the
# same, with their debug information and build id. (`make deb` checks whole
# packages.)
# usage: reproducible.sh SOURCE-DIRECTORY CC
set -eu
source=$1 CC=$2
export CC
# The compiler must run; a cache would give the same files twice.
export CCACHE_DISABLE=1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for place in one two/further; do
	tree=$dir/$place
	mkdir -p "$tree"
	for part in contrib examples fuzz include man src tests meson.build \
		meson_options.txt; do
		cp -R "$source/$part" "$tree"
	done
	meson setup "$tree/build" "$tree" -Dtunnel=disabled -Dtests=false \
		-Dbench=false >"$dir/log" 2>&1 || {
		cat "$dir/log"
		exit 1
	}
	if ninja -C "$tree/build" -t targets all | grep -E 'replay-|fuzz/|tests/'
	then
		echo "these are built without tests" >&2
		exit 1
	fi
	ninja -C "$tree/build" >"$dir/log" 2>&1 || {
		cat "$dir/log"
		exit 1
	}
	readelf -n "$tree/build/libudpgather.so" | grep 'Build ID' || {
		echo "no build id" >&2
		exit 1
	}
done
for file in libudpgather.so libudpgather.a; do
	cmp "$dir/one/build/$file" "$dir/two/further/build/$file"
	if strings -a "$dir/one/build/$file" | grep -F "$dir"; then
		echo "$file names the directory in which it was built" >&2
		exit 1
	fi
done
