#!/bin/bash
# Installs all of a build below a new directory, tries the installed completion for
# bash, and uninstalls. No file may stay.
# usage: uninstall.sh BUILD-DIRECTORY SOURCE-DIRECTORY tunnel|library
set -eu
build=$1 source=$2 what=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() {
	echo "$*" >&2
	exit 1
}
DESTDIR=$dir meson install -C "$build" --no-rebuild --quiet
if [ "$what" = tunnel ]; then
	unit=$(find "$dir" -name wiregather@.service)
	[[ $unit == */lib/systemd/system/* ]] || fail "the unit is in '$unit'"
	completion=$(find "$dir" -path '*/completions/wiregather')
	[ -n "$completion" ] || fail "no completion for bash"
	# shellcheck disable=SC1090
	source "$completion"
	completes() { # expected, words so far...
		local expected=$1
		shift
		COMP_WORDS=(wiregather "$@") COMP_CWORD=$#
		_wiregather
		[ "${COMPREPLY[*]}" = "$expected" ] ||
			fail "'$*' completes to '${COMPREPLY[*]}', not '$expected'"
	}
	completes "--no-gro --no-gso" --no-g
	completes "libcrypto libsodium" --aead lib
	completes "libcrypto libsodium" --aead = lib
	completes "csv" --bench-crypto = ""
	completes "8" --workers 8
	completes "" wg
	# style/completion has more about these.
	for file in bash-completion/completions/wiregatherctl \
		zsh/site-functions/_wiregather zsh/site-functions/_wiregatherctl \
		fish/vendor_completions.d/wiregather.fish \
		fish/vendor_completions.d/wiregatherctl.fish \
		wiregather/grafana/wiregather.json wiregather/schemas/status.json; do
		[[ $file == *ctl* || $file == *json ]] &&
			[ -z "$(find "$dir" -name wiregatherctl.8)" ] && continue
		[ -n "$(find "$dir" -path "*/$file")" ] || fail "no $file"
	done
	# The completion has each long option of the program, and no other.
	known=$(sed -n 's/^\t{ "\([a-z-]*\)", .*_argument.*/--\1/p' \
		"$source/src/cli/options.c" | sort | tr '\n' ' ')
	[ "$(wc -w <<<"$known")" -gt 9 ] || fail "found only: $known"
	completes "${known% }" --
fi
DESTDIR=$dir "$source/tools/uninstall" "$build"
left=$(find "$dir" ! -type d)
[ -z "$left" ] || fail "not removed: $left"
