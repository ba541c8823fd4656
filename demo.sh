#!/bin/bash
# Shows wiregather carrying traffic between two network namespaces: keys, `wg`,
# ping, iperf3 both ways with live progress, and a table at the end. As root.
# Installs the packages it needs from Debian, builds, and at the end, also after
# Ctrl-C, removes what it made. DEMO_SECONDS (default 5) is the time of each run of
# iperf3.
# `./demo.sh library` shows libudpgather alone, without a tunnel.
set -eu
cd "$(dirname "$0")"
seconds=${DEMO_SECONDS:-5}
if [ "$(id -u)" -ne 0 ]; then
	echo "demo.sh: needs root, to make network namespaces" >&2
	exit 1
fi
tools/install-deps
if [ "${1:-}" = library ]; then
	exec tools/demo-library
fi
echo "building"
out=$(mktemp -d)
make --no-print-directory BUILD=build >"$out/build.log" 2>&1 || {
	cat "$out/build.log"
	exit 1
}

near=wgdemo-near-$$ far=wgdemo-far-$$ pids=()
clean() {
	trap - EXIT INT TERM
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || :; done
	wait 2>/dev/null || :
	ip netns del "$near" 2>/dev/null || :
	ip netns del "$far" 2>/dev/null || :
	rm -rf "$out"
}
trap clean EXIT
trap 'clean; exit 130' INT TERM

# A veth pair of MTU 1500 is the network between the two.
ip netns add "$near"
ip netns add "$far"
ip -n "$near" link add wire mtu 1500 type veth peer name wire netns "$far"
ip -n "$near" addr add 10.77.0.1/24 dev wire
ip -n "$far" addr add 10.77.0.2/24 dev wire
for ns in "$near" "$far"; do
	ip -n "$ns" link set lo up
	ip -n "$ns" link set wire up
done

# Replace the shell by a command in a namespace, with its own directory for UAPI
# sockets. Call it in a subshell or in the background; $! is then the command's pid.
inside() { # namespace command...
	local ns=$1
	shift
	# shellcheck disable=SC2016 # the inner shell expands it
	exec ip netns exec "$ns" unshare -m sh -c \
		'mount -t tmpfs none /var/run && mkdir -p /var/run/wireguard &&
		mount --bind "$0" /var/run/wireguard && exec "$@"' \
		"$out/run-$ns" "$@"
}

start() { # namespace
	mkdir "$out/run-$1"
	LOG_LEVEL=verbose inside "$1" "$PWD/build/wiregather" -f wgdemo \
		>"$out/$1.log" 2>&1 &
	pids+=($!)
	daemon=$!
	for _ in $(seq 100); do
		[ -S "$out/run-$1/wgdemo.sock" ] && return
		sleep 0.02
	done
	cat "$out/$1.log"
	exit 1
}

echo
echo "== two daemons, one in each namespace"
start "$near"
near_pid=$daemon
start "$far"
far_pid=$daemon
(umask 077 && wg genkey >"$out/near.key")
(umask 077 && wg genkey >"$out/far.key")
(inside "$near" wg set wgdemo listen-port 51820 private-key "$out/near.key" \
	peer "$(wg pubkey <"$out/far.key")" allowed-ips 10.78.0.2/32 \
	endpoint 10.77.0.2:51820)
(inside "$far" wg set wgdemo listen-port 51820 private-key "$out/far.key" \
	peer "$(wg pubkey <"$out/near.key")" allowed-ips 10.78.0.1/32)
ip -n "$near" addr add 10.78.0.1/24 dev wgdemo
ip -n "$far" addr add 10.78.0.2/24 dev wgdemo
ip -n "$near" link set wgdemo up
ip -n "$far" link set wgdemo up

echo
echo "== ping through the tunnel"
ip netns exec "$near" ping -c 5 -i 0.2 -W 2 10.78.0.2

# Print the pids of a process and of its descendants: a daemon is several processes.
family() { # pid
	local children child
	echo "$1"
	read -ra children <"/proc/$1/task/$1/children" || :
	for child in "${children[@]}"; do family "$child"; done
}

# Print the seconds of CPU time that a daemon has used.
cpu() { # pid
	local p
	for p in $(family "$1"); do cat "/proc/$p/stat"; done |
		awk -v hz="$(getconf CLK_TCK)" \
			'{ sub(/.*\) /, ""); t += $12 + $13 } END { print t / hz }'
}

measure() { # label, iperf3 options
	local label=$1 before after gbit
	shift
	echo
	echo "== iperf3: $label"
	ip netns exec "$far" iperf3 -s -1 -B 10.78.0.2 >/dev/null &
	pids+=($!)
	sleep 0.3
	before=$(cpu "$near_pid" && cpu "$far_pid")
	ip netns exec "$near" iperf3 -c 10.78.0.2 -t "$seconds" -f g \
		--forceflush "$@" | tee "$out/iperf" | grep -E 'sec ' || :
	after=$(cpu "$near_pid" && cpu "$far_pid")
	gbit=$(awk '/receiver/ { for (i = 1; i < NF; i++)
		if ($(i + 1) ~ /bits\/sec/) print $i }' "$out/iperf" | tail -1)
	printf '%s\n%s\n' "$before" "$after" | awk -v l="$label" -v g="$gbit" \
		-v t="$seconds" '{ v[NR] = $1 } END { c = v[3] + v[4] - v[1] - v[2]
		printf "%-24s %8.2f %16.3f\n", l, g, g ? c / (g * t) : 0 }' \
		>>"$out/table"
	[ -n "$gbit" ]
}

measure "TCP, near to far"
measure "TCP, far to near" -R
measure "TCP, 4 streams" -P 4
# 1,368 bytes are the MSS of TCP here. iperf3 warns of larger datagrams.
measure "UDP, 1,368 bytes" -u -b 0 -l 1368

echo
(inside "$near" wg show)

# The sum of a daemon's processes, which counts pages that they share more than once.
rss() { # pid
	local p
	for p in $(family "$1"); do cat "/proc/$p/status"; done |
		awk '/VmHWM/ { kib += $2 } END { printf "%.1f", kib / 1024 }'
}
memory="$(rss "$near_pid") MiB near, $(rss "$far_pid") MiB far"
kill "$near_pid" "$far_pid"
wait "$near_pid" "$far_pid" || :
echo
printf '%-24s %8s %16s\n' "" "Gbit/s" "CPU s per Gbit"
printf '%-24s %8s %16s\n' "" "" "(both daemons)"
cat "$out/table"
echo
echo "peak memory: $memory"
for ns in "$near" "$far"; do
	side=${ns#wgdemo-}
	sed -n "s/.* sent \([0-9]* datagrams .*\)/coalescing ${side%-*}: \1/p" \
		"$out/$ns.log"
done
