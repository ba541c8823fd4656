#!/bin/sh
# Installs the library below a directory of its own, and builds and runs the
# examples against it through pkg-config, as a user would.
# usage: install.sh BUILD-DIRECTORY SOURCE-DIRECTORY CC
set -eu
build=$1 source=$2 cc=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
DESTDIR=$dir meson install -C "$build" --no-rebuild --quiet
pc=$(find "$dir" -name libudpgather.pc)
lib=$(dirname "$(dirname "$pc")")
PKG_CONFIG_LIBDIR=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR=$dir
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
for name in blast sink echo epoll relay; do
	# shellcheck disable=SC2046 # words
	"$cc" -D_DEFAULT_SOURCE "$source/examples/$name.c" -o "$dir/$name" \
		$(pkg-config --cflags --libs libudpgather) -pthread
done
[ -e "$lib/libudpgather.a" ]
[ -n "$(find "$dir" -name ug_close.3)" ]
LD_LIBRARY_PATH=$lib
export LD_LIBRARY_PATH
# A free port. Two runs at the same time take different ports.
port=$((20000 + $$ % 10000))
hex=$(printf '%04X' "$port")
"$dir/sink" "$port" >"$dir/sink.out" &
sink=$!
tries=0
until grep -q ":$hex " /proc/net/udp; do
	tries=$((tries + 1))
	if [ "$tries" -gt 200 ]; then
		echo "sink does not listen on port $port" >&2
		exit 1
	fi
	sleep 0.05
done
"$dir/blast" "127.0.0.1:$port" 1 >"$dir/blast.out"
wait $sink
cat "$dir/blast.out" "$dir/sink.out"
grep -q '^received [1-9]' "$dir/sink.out"
