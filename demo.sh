#!/bin/sh
# Shows traffic moving between two network namespaces through libudpgather.
# As root. Installs what it needs from Debian, builds, runs for some seconds
# (DEMO_SECONDS, default 5), removes what it made.
set -eu
cd "$(dirname "$0")"
seconds=${DEMO_SECONDS:-5}
if [ "$(id -u)" -ne 0 ]; then
	echo "demo.sh: needs root, to make network namespaces" >&2
	exit 1
fi
tools/install-deps
echo "building"
make --no-print-directory BUILD=build >build.log 2>&1 || {
	cat build.log
	exit 1
}
rm -f build.log

near=ugdemo-near-$$ far=ugdemo-far-$$ pids=
out=$(mktemp -d)
clean() {
	trap - EXIT INT TERM
	for p in $pids; do kill "$p" 2>/dev/null || :; done
	ip netns del "$near" 2>/dev/null || :
	ip netns del "$far" 2>/dev/null || :
	rm -rf "$out"
}
trap clean EXIT
trap 'clean; exit 130' INT TERM

ip netns add "$near"
ip netns add "$far"
ip -n "$near" link add ug0 mtu 1500 type veth peer name ug0 netns "$far"
ip -n "$near" addr add 10.77.0.1/24 dev ug0
ip -n "$far" addr add 10.77.0.2/24 dev ug0
ip -n "$near" addr add fd00:77::1/64 dev ug0 nodad
ip -n "$far" addr add fd00:77::2/64 dev ug0 nodad
ip -n "$near" link set ug0 up
ip -n "$far" link set ug0 up
sleep 1

run() { # label destination size
	echo
	echo "== $1"
	ip netns exec "$far" build/examples/sink 9999 >"$out/sink" &
	sink=$!
	pids="$pids $sink"
	sleep 0.3
	ip netns exec "$near" build/examples/blast "$2" "$seconds" "$3" \
		>"$out/blast" &
	blast=$!
	pids="$pids $blast"
	i=0
	while [ $i -lt "$seconds" ]; do
		sleep 1
		i=$((i + 1))
		printf '%3d s  %s  |  %s\n' $i \
			"$(grep Gbit "$out/blast" | tail -1)" \
			"$(grep Gbit "$out/sink" | tail -1)"
	done
	wait $blast
	wait $sink
	pids=
	tail -1 "$out/blast"
	tail -1 "$out/sink"
	sent=$(awk 'END { print $2 }' "$out/blast")
	got=$(awk 'END { print $2 }' "$out/sink")
	awk -v l="$1" -v s="$sent" -v g="$got" -v t="$seconds" -v z="$3" \
		'BEGIN { printf "%-34s %8.2f %10.2f %8.2f %%\n", l,
			s * z * 8e-9 / t, g * z * 8e-9 / t,
			s ? 100 * (s - g) / s : 0 }' >>"$out/table"
	[ "$got" -gt 0 ]
}

echo "two namespaces, joined by a veth pair of MTU 1500; $seconds s each"
run "IPv4, 1,452 bytes" 10.77.0.2:9999 1452
run "IPv6, 1,200 bytes" '[fd00:77::2]:9999' 1200
run "IPv4, 64 bytes" 10.77.0.2:9999 64

echo
printf '%-34s %8s %10s %8s\n' "" "sent" "received" "lost"
printf '%-34s %8s %10s\n' "" "Gbit/s" "Gbit/s"
cat "$out/table"
echo
echo "What is lost came faster than the receiver took it: UDP does not wait."
