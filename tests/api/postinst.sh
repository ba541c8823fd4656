#!/bin/sh
# SPDX-License-Identifier: MIT
# The script that dpkg calls after it has unpacked the package: it upgrades running
# tunnels after an update, not at the first installation, and succeeds even if that
# fails. Programs that it calls are played by others here.
# usage: postinst.sh SOURCE-DIRECTORY
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() {
	echo "$*" >&2
	exit 1
}
mkdir "$dir/bin"
for name in update-alternatives wiregatherctl; do
	cat >"$dir/bin/$name" <<-END
	#!/bin/sh
	echo "$name \$*" >>"$dir/calls"
	[ $name != wiregatherctl ] || [ ! -e "$dir/refuses" ] || {
		echo "wiregatherctl: wg1: restart it" >&2
		exit 1
	}
	END
	chmod +x "$dir/bin/$name"
done
# What debhelper puts there uses no other program here.
sed 's/^#DEBHELPER#$/:/' "$1/debian/wiregather.postinst" >"$dir/postinst"
call() { # arguments of the script...
	: >"$dir/calls"
	PATH=$dir/bin:$PATH sh "$dir/postinst" "$@" >"$dir/said" 2>&1 ||
		fail "postinst $*: status $?: $(cat "$dir/said")"
}
upgrades() {
	grep -c '^wiregatherctl upgrade --all --if-changed$' "$dir/calls" || :
}
call configure ""
[ "$(upgrades)" = 0 ] || fail "the first installation upgrades: $(cat "$dir/calls")"
grep -q '^update-alternatives --install /usr/bin/wireguard-go' "$dir/calls" ||
	fail "no alternative: $(cat "$dir/calls")"
call configure 0.2.0-0upstream1
[ "$(upgrades)" = 1 ] || fail "an update does not upgrade: $(cat "$dir/calls")"
[ ! -s "$dir/said" ] || fail "it says without need: $(cat "$dir/said")"
for words in "abort-upgrade 1.0" "abort-remove" "abort-deconfigure in-favour x 1 removing y 1"; do
	# shellcheck disable=SC2086 # words
	call $words
	[ "$(upgrades)" = 0 ] || fail "$words upgrades: $(cat "$dir/calls")"
done
touch "$dir/refuses"
call configure 0.2.0-0upstream1
for part in "wg1: restart it" "wiregatherctl upgrade NAME" "systemctl restart wiregather@NAME" \
	"wg-quick down NAME"; do
	grep -qF "$part" "$dir/said" || fail "no '$part' in: $(cat "$dir/said")"
done
echo "dpkg's script: first installation, update, refusal"
