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
	end=$(($(date +%s) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -le "$end" ] || {
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
far_pings() { # address
	ip netns exec far ping -n -c 1 -W 2 "$1"
}
index() { # interface
	cat "/sys/class/net/$1/ifindex"
}

# The far end of a tunnel: interface, its port, its address, the near end's public key.
far() {
	ip netns exec far wiregather "$1"
	printf '%s\n' "$far_key" | wg set "$1" private-key /dev/stdin listen-port "$2" \
		peer "$4" allowed-ips "${3%.*}.0/24"
	ip -n far address add "$3/24" dev "$1"
	ip -n far link set "$1" up
}

# The near end's configuration: interface, port, network, far port, words... Without ports
# the system chooses one, and the far end is where its packets come from.
near() {
	name=$1 port=$2 net=$3 far_port=$4
	shift 4
	mkdir -p /etc/wireguard
	(
		umask 077
		printf '%s\n' '[Interface]' "PrivateKey = $near_key" \
			${port:+"ListenPort = $port"} "Address = $net.1/24" "$@" '[Peer]' \
			"PublicKey = $(echo "$far_key" | wg pubkey)" \
			${far_port:+"Endpoint = 192.0.2.2:$far_port"} \
			"AllowedIPs = $net.2/32, $allowed" >"/etc/wireguard/$name.conf"
	)
}

# Words of a drop-in for an instance.
drop_in() { # interface, lines...
	folder=/run/systemd/system/wiregather@$1.service.d
	shift
	mkdir -p "$folder"
	printf '%s\n' '[Service]' "$@" >"$folder/test.conf"
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
	far far4 51004 10.4.0.2 "$public"
	allowed=10.77.0.0/16
	near wg1 443 10.1.0 51001 "MTU = 1380"
	allowed=10.74.0.0/16
	near wg4 '' 10.4.0 ''
	# A watchdog's time that is short, and so long that a busy machine does not seem
	# to hang. While there is a file, the next process does not start.
	drop_in wg1 WatchdogSec=6 "ExecStopPost=sh -c 'while [ -e /run/hold ]; do sleep 0.1; done'" \
		'[Unit]' StartLimitIntervalSec=0
	drop_in wg4 Environment=WIREGATHER_OPTIONS=--fail-closed '[Unit]' StartLimitIntervalSec=0
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
	pings 10.1.0.2
}

# Another file gets a program's path, as by an update of a package.
replace_program() { # path
	cp "$1" "$1.new"
	mv "$1.new" "$1"
}

upgrades() {
	command -v wiregatherctl || return 0
	before=$(handshake wg1)
	pid=$(show MainPID wiregather@wg1)
	engine=$(engine_of "$pid")
	replace_program /usr/bin/wiregather
	systemctl reload wiregather@wg1
	upto 20 is_other_engine "$pid" "$engine"
	is "$(stat -L -c %i "/proc/$(engine_of "$pid")/exe")" \
		"$(stat -c %i /usr/bin/wiregather)" "file of the engine's program"
	is "$(handshake wg1)" "$before" "time of the handshake"
	is "$(show MainPID wiregather@wg1)" "$pid" "process"
	pings 10.1.0.2
	far_pings 10.1.0.1
	is "$(handshake wg1)" "$before" "time of the handshake"
	engine=$(engine_of "$pid")
	systemctl reload wiregather@wg1
	is "$(engine_of "$pid")" "$engine" "engine after a reload without a change"
}

is_new() { # unit, old process
	[ "$(show ActiveState "$1")" = active ] &&
		[ "$(show MainPID "$1")" != "$2" ] &&
		[ "$(show MainPID "$1")" != 0 ]
}
has_no_process() { # process that was
	[ ! -e "/proc/$1" ] && ! pgrep -x wg-engine -u wiregather
}
datagram_waits() { # port
	ss -Huln "sport = :$1" | grep -qv '^[A-Z]* *0 '
}
# A counter of the statistics.
counter() { # interface, key
	wiregatherctl status --json "$1" | sed -n "s/.*\"$2\": *\([0-9]*\).*/\1/p"
}

# Between two processes of wg1, the second of which waits for this: the interface and the
# port are there, and what comes waits.
passes_gap() { # old process
	upto 40 has_no_process "$1"
	is "$(index wg1)" "$index" "index without a process"
	has "$(ip link show wg1)" ",UP" "interface without a process"
	ping -n -c 1 -W 40 10.1.0.2 >/run/ping 2>&1 &
	waiting=$!
	if far_pings 10.1.0.1; then
		echo "there is an answer without a process"
		exit 1
	fi
	datagram_waits 443
	is "$(show MainPID wiregather@wg1)" 0 "process that should wait"
	rm /run/hold
	upto 40 is_new wiregather@wg1 "$1"
	wait "$waiting"
	is "$(index wg1)" "$index" "index"
	is "$(wg show wg1 listen-port)" 443 "port"
	is "$(wg show wg1 peers | wc -l)" 2 "peers"
	has "$(ip address show wg1)" "10.1.0.1/24" "interface"
	has "$(ip route show dev wg1)" "10.77.0.0/16" "routes"
	# The far end is greeted. Without that it makes no handshake for 15 s.
	upto 10 far_pings 10.1.0.1
	# The datagram that waited was of a session that the next process does not have.
	! command -v wiregatherctl ||
		[ "$(counter wg1 inbound_dropped_unknown_index)" -gt 0 ]
}

restarts() {
	index=$(index wg1)
	pid=$(show MainPID wiregather@wg1)
	touch /run/hold
	systemctl restart --no-block wiregather@wg1
	passes_gap "$pid"
	is "$(show NRestarts wiregather@wg1)" 0 "restarts by systemd"
}

crashes() {
	index=$(index wg1)
	pid=$(show MainPID wiregather@wg1)
	# What the manager keeps stays when it reads its files anew, and when it executes
	# itself anew.
	systemctl daemon-reload
	systemctl daemon-reexec
	touch /run/hold
	kill -KILL "$pid"
	passes_gap "$pid"
	is "$(show NRestarts wiregather@wg1)" 1 "restarts by systemd"
}

replaces() {
	index=$(index wg1)
	pid=$(show MainPID wiregather@wg1)
	restarts=$(show NRestarts wiregather@wg1)
	for number in SEGV STOP; do
		engine=$(engine_of "$pid")
		kill "-$number" "$engine"
		# Within the watchdog's time, of which two thirds may pass.
		upto 40 is_other_engine "$pid" "$engine"
		upto 20 pings 10.1.0.2
		is "$(show MainPID wiregather@wg1)" "$pid" "process after SIG$number"
		is "$(index wg1)" "$index" "index"
	done
	has "$(journalctl --no-pager --boot)" "control thread makes no progress" "journal"
	is "$(show NRestarts wiregather@wg1)" "$restarts" "restarts by systemd"
	echo "$pid $restarts $(date +%s)" >/run/replaced
}

hangs() {
	# The watchdog was fed since the step before, for longer than it waits.
	read -r before restarts since </run/replaced
	until [ "$(date +%s)" -gt "$((since + 7))" ]; do sleep 0.5; done
	is "$(show MainPID wiregather@wg1)" "$before" "process"
	is "$(show NRestarts wiregather@wg1)" "$restarts" "restarts by systemd"
	index=$(index wg1)
	pid=$(show MainPID wiregather@wg1)
	old=$(engine_of "$pid")
	# The engine too: it cannot see that it is to end.
	kill -STOP "$old" "$pid"
	upto 60 is_new wiregather@wg1 "$pid"
	has "$(journalctl --no-pager --boot)" "Watchdog timeout" "journal"
	is "$(index wg1)" "$index" "index"
	upto 20 pings 10.1.0.2
	upto 10 [ ! -e "/proc/$old" ]
}

# Kills engines until the daemon gives up.
kill_engines() { # unit, process of the daemon
	for _ in 1 2 3 4 5; do
		upto 40 has_engine "$2"
		engine=$(engine_of "$2")
		kill -SEGV "$engine"
		upto 40 [ ! -e "/proc/$engine" ]
	done
}
has_engine() { # process of the daemon
	[ "$(engine_of "$1" | wc -w)" = 1 ]
}

# Too many deaths end the daemon. It is started again, and if it goes on like this, the
# service has failed.
gives_up() {
	drop_in wg1 '[Unit]' StartLimitIntervalSec=600 StartLimitBurst=2
	systemctl daemon-reload
	systemctl stop wiregather@wg1
	systemctl reset-failed wiregather@wg1 || :
	systemctl start wiregather@wg1
	index=$(index wg1)
	pid=$(show MainPID wiregather@wg1)
	kill_engines wiregather@wg1 "$pid"
	upto 40 is_new wiregather@wg1 "$pid"
	is "$(index wg1)" "$index" "index"
	upto 20 pings 10.1.0.2
	pid=$(show MainPID wiregather@wg1)
	kill_engines wiregather@wg1 "$pid"
	upto 40 property_is ActiveState wiregather@wg1 failed
	is "$(show StatusText wiregather@wg1)" "5 engines have died within 60 s" "status"
	said=$(journalctl --no-pager --boot --unit wiregather@wg1)
	has "$said" "5 engines have died within 60 s: no other one is started" "journal"
	upto 10 [ ! -e /sys/class/net/wg1 ]
	systemctl reset-failed wiregather@wg1
	systemctl start wiregather@wg1
	upto 20 pings 10.1.0.2
}

stops() {
	index=$(index wg1)
	systemctl stop wiregather@wg1
	is "$(show ActiveState wiregather@wg1)" inactive "state"
	is "$(show Result wiregather@wg1)" success "result"
	[ ! -e /run/wireguard/wg1.sock ] && [ ! -e /run/wireguard/wg1.stats ]
	# What the manager kept ends a moment later.
	upto 10 [ ! -e /sys/class/net/wg1 ]
	is "$(show NFileDescriptorStore wiregather@wg1)" 0 "descriptors that are kept"
	systemctl start wiregather@wg1
	[ "$(index wg1)" != "$index" ]
	systemctl stop wiregather@wg1
}

# Tells the far end the port of a near one.
find_port() { # near interface, far interface
	ip netns exec far wg set "$2" peer "$(echo "$near_key" | wg pubkey)" \
		endpoint "192.0.2.1:$(wg show "$1" listen-port)"
}

# A server that knows its peer's address by its packets only, and has a port that the
# system has chosen.
stays() {
	systemctl start wiregather@wg4
	port=$(wg show wg4 listen-port)
	index=$(index wg4)
	find_port wg4 far4
	upto 20 far_pings 10.4.0.1
	systemctl restart wiregather@wg4
	is "$(index wg4)" "$index" "index"
	is "$(wg show wg4 listen-port)" "$port" "port"
	upto 20 pings 10.4.0.2
	systemctl reload wiregather@wg4
	is "$(wg show wg4 listen-port)" "$port" "port after a reload"
	# After a change of the file a restart leaves nothing of the old one.
	sed -i -e 's/10.4.0.1/10.4.0.3/' -e 's/10.74.0.0/10.79.0.0/' /etc/wireguard/wg4.conf
	systemctl restart wiregather@wg4
	is "$(index wg4)" "$index" "index"
	is "$(ip -o -4 address show wg4 | awk '{ print $4 }')" 10.4.0.3/24 "addresses"
	is "$(ip route show dev wg4 | cut -d ' ' -f 1 | sort | tr '\n' ' ')" \
		"10.4.0.0/24 10.79.0.0/16 " "routes"
}

# With the option --fail-closed the interface stays after too many deaths, and a restart
# brings the tunnel back.
closed() {
	index=$(index wg4)
	pid=$(show MainPID wiregather@wg4)
	kill_engines wiregather@wg4 "$pid"
	upto 20 property_is StatusText wiregather@wg4 \
		"failed: nothing passes, and the interface stays until it is deleted"
	is "$(show MainPID wiregather@wg4)" "$pid" "process"
	is "$(index wg4)" "$index" "index"
	systemctl restart wiregather@wg4
	is "$(index wg4)" "$index" "index after a restart"
	# The sockets were closed, so the system has chosen another port.
	find_port wg4 far4
	# The far end forgets its session now, and not only after 15 s without an answer.
	ip -n far link set far4 down
	ip -n far link set far4 up
	upto 20 far_pings 10.4.0.3
	systemctl stop wiregather@wg4
	upto 10 [ ! -e /sys/class/net/wg4 ]
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
	echo "$near_key" | wg set wg2 listen-port 442 private-key /dev/stdin
	ip address add 10.2.0.1/24 dev wg2
	ip link set wg2 up
	# What was configured by hand stays.
	index=$(index wg2)
	systemctl restart wiregather@wg2
	is "$(index wg2)" "$index" "index"
	is "$(wg show wg2 listen-port)" 442 "port"
	is "$(wg show wg2 private-key)" "$near_key" "key"
	has "$(ip address show wg2)" "10.2.0.1/24" "interface"
	systemctl reload wiregather@wg2
	is "$(wg show wg2 private-key)" "$near_key" "key after a reload"
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
	said=$(journalctl --no-pager --boot)
	case $said in
	*"Cannot store"* | *"left-over process"*)
		echo "$said"
		exit 1
		;;
	esac
}

near_key=$(wg genkey)
far_key=$(wg genkey)
allowed=10.77.0.0/16
n_steps=15
[ ! -e /sys/module/wireguard ] || n_steps=14
echo "1..$n_steps"
# Not in a subshell: it sets variables.
prepare >/run/prepared 2>&1 || say "$(cat /run/prepared)"
step "wiregather@ starts with its configuration, on a port below 1024" starts
step "systemctl status says what it does" tells
step "a reload changes what differs, and keeps sessions" reloads
step "a reload after a change of the program upgrades it" upgrades
step "a restart: interface, port and what comes meanwhile stay" restarts
step "the main process is killed: the same" crashes
step "its engine dies, or hangs: systemd has nothing to do" replaces
step "a restart keeps a port and an endpoint that no file has, and no old address" stays
step "with --fail-closed a restart brings the tunnel back" closed
step "without a file it starts unconfigured; its interface deleted, it ends" without_file
[ -e /sys/module/wireguard ] ||
	step "wg-quick@ with the drop-in: all is set up again after a crash" quick
step "the main process hangs: the watchdog ends it, and it comes back" hangs
step "too many deaths: systemd tries it again, and then it has failed" gives_up
step "a stop ends the interface and its socket, a start makes them anew" stops
step "no unit has failed" nothing_failed
# At once: systemd would wait for the daemons of the far end.
systemctl poweroff --force --force
