#!/bin/sh
# The public header compiles alone, as C and as C++, by several standards of each
# language, without a warning of those that users may enable.
# usage: header.sh CC CXX INCLUDE
set -eu
cc=$1 cxx=$2 include=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo '#include <udpgather.h>
int main(void) { struct ug_endpoint e; return ug_endpoint_parse(&e, ""); }' \
	>"$dir/t.c"
cp "$dir/t.c" "$dir/t.cc"
for std in gnu99 c11 c17; do
	"$cc" -std=$std -D_DEFAULT_SOURCE -Wall -Wextra -Wpedantic -Wconversion \
		-Werror -I"$include" -c "$dir/t.c" -o "$dir/t.o"
	echo "C, $std"
done
if ! command -v "$cxx" >/dev/null; then
	echo "no C++ compiler: $cxx"
	exit 1
fi
for std in c++11 c++17 c++20; do
	"$cxx" -std=$std -Wall -Wextra -Wpedantic -Wconversion -Werror \
		-I"$include" -c "$dir/t.cc" -o "$dir/t.o"
	echo "C++, $std"
done
