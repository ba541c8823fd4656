#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in a container that systemd has booted (boot.py): the units that are installed,
# from their start to their end. Prints TAP. The other end of each tunnel is a daemon of
# root in a network namespace, whose sockets are in the same directory.
set -u
n=0

say() {
	printf '%s\n' "$1" | sed 's/^/# /'
}

# Runs a function. If it fails, prints what it has said and the journal.
step() { # name, function
	n=$((n + 1))
	began=$(date +%s)
	# Not as a condition: there "set -e" would have no effect.
	said=$(
		set -e
		"$2" 2>&1
	)
	status=$?
	if [ "$status" = 0 ]; then
		echo "ok $n - $1"
		echo "# $(($(date +%s) - began)) s"
		return
	fi
	say "$said"
	say "$(journalctl --no-pager --boot --lines 40 2>&1)"
	echo "not ok $n - $1"
}

# Waits until a command succeeds. It has seconds enough for a busy machine.
upto() { # seconds, command...
	i=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		i=$((i - 1))
		[ "$i" -gt 0 ] || {
			echo "after some time still not: $*"
			return 1
		}
		sleep 0.1
	done
}

is() { # got, wanted, what
	[ "$1" = "$2" ] || {
		echo "$3: got '$1', wanted '$2'"
		exit 1
	}
}
has() { # text, word, what
	case $1 in
	*"$2"*) ;;
	*)
		echo "$3: '$2' is not in '$1'"
		exit 1
		;;
	esac
}
show() { # property, unit
	systemctl show --property "$1" --value "$2"
}
property_is() { # property, unit, value
	[ "$(show "$1" "$2")" = "$3" ]
}
pings() { # address
	ping -n -c 1 -W 2 "$1"
}

# The far end of a tunnel: interface, its port, its address, the near end's public key.
far() {
	ip netns exec far wiregather "$1"
	printf '%s\n' "$far_key" | wg set "$1" private-key /dev/stdin listen-port "$2" \
		peer "$4" allowed-ips "${3%.*}.1/32"
	ip -n far address add "$3/24" dev "$1"
	ip -n far link set "$1" up
}

# The near end's configuration: interface, port, network, far port, words...
near() {
	name=$1 port=$2 net=$3 far_port=$4
	shift 4
	mkdir -p /etc/wireguard
	(
		umask 077
		printf '%s\n' '[Interface]' "PrivateKey = $near_key" \
			"ListenPort = $port" "Address = $net.1/24" "$@" '[Peer]' \
			"PublicKey = $(echo "$far_key" | wg pubkey)" \
			"Endpoint = 192.0.2.2:$far_port" \
			"AllowedIPs = $net.2/32, $allowed" >"/etc/wireguard/$name.conf"
	)
}

handshake() { # interface
	wg show "$1" latest-handshakes | cut -f 2 | sort | tail -n 1
}

prepare() {
	systemd-sysusers
	id wiregather
	chmod 0666 /dev/net/tun
	ip netns add far
	ip link add near type veth peer name far netns far
	ip address add 192.0.2.1/24 dev near
	ip link set near up
	ip -n far address add 192.0.2.2/24 dev far
	ip -n far link set far up
	ip -n far link set lo up
	systemctl start systemd-tmpfiles-setup.service
	systemd-tmpfiles --create wiregather.conf
	public=$(echo "$near_key" | wg pubkey)
	far far1 51001 10.1.0.2 "$public"
	far far3 51003 10.3.0.2 "$public"
	allowed=10.77.0.0/16
	near wg1 443 10.1.0 51001 "MTU = 1380"
	systemctl daemon-reload
}

starts() {
	systemctl start wiregather@wg1
	is "$(show ActiveState wiregather@wg1)" active "state"
	is "$(wg show wg1 listen-port)" 443 "port"
	pid=$(show MainPID wiregather@wg1)
	has "$(cat "/proc/$pid/status")" "Uid:	$(id -u wiregather)	" "user"
	is "$(stat -c '%U %a' /run/wireguard/wg1.sock)" "wiregather 700" "socket"
	is "$(stat -L -c '%G %a' /run/wireguard/wg1.stats)" "wiregather-stats 660" \
		"statistics socket"
	has "$(ip address show wg1)" "mtu 1380" "interface"
	has "$(ip address show wg1)" "10.1.0.1/24" "interface"
	case $(ip address show wg1) in
	*fe80*)
		echo "it has a link-local address"
		exit 1
		;;
	esac
	has "$(ip route show dev wg1)" "10.77.0.0/16" "routes"
	upto 20 pings 10.1.0.2
	said=$(journalctl --no-pager --boot)
	case $said in
	*"not isolated"* | *"not locked"* | *"makes no progress"*)
		echo "$said"
		exit 1
		;;
	esac
	is "$(grep -c 'Seccomp:	2' "/proc/$pid/status")" 1 "filter"
}

tells() {
	upto 40 property_is StatusText wiregather@wg1 \
		"up, port 443, 1 peer, 1 with a session"
}

# The process of a daemon that has keys and packets. For milliseconds there may be two.
engine_of() { # process of the daemon
	for starter in $(cat "/proc/$1"/task/*/children); do
		for pid_of in $(cat "/proc/$starter"/task/*/children); do
			! grep -qx wg-engine "/proc/$pid_of/comm" || echo "$pid_of"
		done
	done
}
is_other_engine() { # process of the daemon, the engine that it had
	[ "$(engine_of "$1" | wc -w)" = 1 ] && [ "$(engine_of "$1")" != "$2" ]
}

reloads() {
	before=$(handshake wg1)
	pid=$(show MainPID wiregather@wg1)
	engine=$(engine_of "$pid")
	printf '%s\n' '[Peer]' "PublicKey = $(wg genkey | wg pubkey)" \
		'AllowedIPs = 10.78.0.0/16' >>/etc/wireguard/wg1.conf
	systemctl reload wiregather@wg1
	is "$(wg show wg1 peers | wc -l)" 2 "peers"
	is "$(handshake wg1)" "$before" "time of the handshake"
	is "$(show MainPID wiregather@wg1)" "$pid" "process"
	has "$(ip route show dev wg1)" "10.78.0.0/16" "routes"
	# The program is the same, so it goes on.
	is "$(engine_of "$pid")" "$engine" "engine"
	! command -v wiregatherctl || {
		wiregatherctl upgrade wg1
		upto 20 is_other_engine "$pid" "$engine"
		is "$(handshake wg1)" "$before" "time of the handshake"
	}
	pings 10.1.0.2
}

is_new() { # unit, old process
	[ "$(show ActiveState "$1")" = active ] &&
		[ "$(show MainPID "$1")" != "$2" ] &&
		[ "$(show MainPID "$1")" != 0 ]
}

crashes() {
	pid=$(show MainPID wiregather@wg1)
	kill -SEGV "$pid"
	upto 30 is_new wiregather@wg1 "$pid"
	is "$(wg show wg1 peers | wc -l)" 2 "peers"
	is "$(wg show wg1 listen-port)" 443 "port"
	has "$(ip address show wg1)" "10.1.0.1/24" "interface"
	has "$(ip route show dev wg1)" "10.77.0.0/16" "routes"
	upto 20 pings 10.1.0.2
}

hangs() {
	mkdir -p /run/systemd/system/wiregather@wg1.service.d
	printf '%s\n' '[Service]' WatchdogSec=5 TimeoutAbortSec=1 \
		>/run/systemd/system/wiregather@wg1.service.d/short.conf
	systemctl daemon-reload
	systemctl restart wiregather@wg1
	upto 20 pings 10.1.0.2
	pid=$(show MainPID wiregather@wg1)
	# It is fed for longer than the watchdog waits.
	sleep 8
	is "$(show MainPID wiregather@wg1)" "$pid" "process"
	kill -STOP "$pid"
	upto 30 is_new wiregather@wg1 "$pid"
	has "$(journalctl --no-pager --boot)" "Watchdog timeout" "journal"
	upto 20 pings 10.1.0.2
}

stops() {
	systemctl stop wiregather@wg1
	is "$(show ActiveState wiregather@wg1)" inactive "state"
	is "$(show Result wiregather@wg1)" success "result"
	[ ! -e /run/wireguard/wg1.sock ] && [ ! -e /run/wireguard/wg1.stats ]
	[ ! -e /sys/class/net/wg1 ]
}

without_file() {
	systemctl start wiregather@wg2
	is "$(show ActiveState wiregather@wg2)" active "state"
	case $(ip link show wg2) in
	*,UP*)
		echo "it is up"
		exit 1
		;;
	esac
	wg set wg2 listen-port 442
	# It ends when its interface is deleted, and that is no failure.
	ip link delete wg2
	upto 20 property_is ActiveState wiregather@wg2 inactive
	is "$(show Result wiregather@wg2)" success "result"
}

quick() {
	allowed=0.0.0.0/0
	near wg3 51033 10.3.0 51003
	systemctl start wg-quick@wg3
	is "$(show ActiveState wg-quick@wg3)" active "state"
	pid=$(show MainPID wg-quick@wg3)
	is "$(cat "/proc/$pid/comm")" wiregather "main process"
	upto 20 pings 10.3.0.2
	upto 40 property_is StatusText wg-quick@wg3 \
		"up, port 51033, 1 peer, 1 with a session"
	kill -SEGV "$pid"
	upto 40 is_new wg-quick@wg3 "$pid"
	upto 20 pings 10.3.0.2
	has "$(ip rule)" "lookup main suppress_prefixlength 0" "rules"
	systemctl stop wg-quick@wg3
	is "$(ip rule | grep -c suppress_prefixlength || :)" 0 "rules that are left"
	[ ! -e /sys/class/net/wg3 ]
}

nothing_failed() {
	said=$(systemctl list-units --failed --plain --no-legend 'wiregather*' 'wg-quick*')
	is "$said" "" "units"
}

near_key=$(wg genkey)
far_key=$(wg genkey)
allowed=10.77.0.0/16
if [ -e /sys/module/wireguard ]; then
	echo "1..8"
else
	echo "1..9"
fi
# Not in a subshell: it sets variables.
prepare >/run/prepared 2>&1 || say "$(cat /run/prepared)"
step "wiregather@ starts with its configuration, on a port below 1024" starts
step "systemctl status says what it does" tells
step "a reload changes what differs, and keeps sessions" reloads
step "a crash: it comes back with the whole configuration" crashes
step "it hangs: the watchdog ends it, and it comes back" hangs
step "at its end socket and interface are gone" stops
step "without a file it starts unconfigured; its interface deleted, it ends" without_file
[ -e /sys/module/wireguard ] ||
	step "wg-quick@ with the drop-in: all is set up again after a crash" quick
step "no unit has failed" nothing_failed
# At once: systemd would wait for the daemons of the far end.
systemctl poweroff --force --force
