#!/bin/sh
# Makes the tarball of the library alone, twice: the bytes must be the same. It must
# build with its defaults while pkg-config knows no library, install what a program
# needs, and a program must compile, link and run with what was installed.
# usage: dist.sh SOURCE-DIRECTORY CC
set -eu
source=$1 CC=$2
export CC
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
first=$("$source/tools/dist-library" "$dir/one")
second=$("$source/tools/dist-library" "$dir/two")
cmp "$first" "$second"
tar -xJf "$first" -C "$dir"
tree=$(basename "$first" .tar.xz)
cd "$dir/$tree"
mkdir "$dir/none"
PKG_CONFIG_LIBDIR=$dir/none meson setup build --prefix "$dir/root" \
	--libdir lib >"$dir/log" 2>&1 && ninja -C build >>"$dir/log" 2>&1 &&
	ninja -C build install >>"$dir/log" 2>&1 || {
	cat "$dir/log"
	exit 1
}
for file in lib/libudpgather.so lib/libudpgather.a include/udpgather.h \
	lib/pkgconfig/libudpgather.pc share/man/man3/ug_send.3; do
	[ -e "$dir/root/$file" ] || {
		echo "not installed: $file" >&2
		exit 1
	}
done
for file in bin/wiregather sbin/wiregather share/man/man8; do
	[ ! -e "$dir/root/$file" ] || {
		echo "installed, but no part of the library: $file" >&2
		exit 1
	}
done
export PKG_CONFIG_PATH="$dir/root/lib/pkgconfig"
# shellcheck disable=SC2046 # words
"$CC" -D_DEFAULT_SOURCE examples/sink.c -o sink \
	$(pkg-config --cflags --libs libudpgather)
status=0
usage=$(LD_LIBRARY_PATH=$dir/root/lib ./sink nonsense 2>&1) || status=$?
case $status-$usage in
1-usage*) echo "ok: $usage" ;;
*)
	echo "sink: status $status: $usage" >&2
	exit 1
	;;
esac
