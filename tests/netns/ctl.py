#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl over running daemons: status, events, and metrics, which promtool
checks and a real Prometheus scrapes.
"""
import json
import os
import pathlib
import random
import re
import select
import socket
import subprocess
import threading
import time
import urllib.request

import lab
from lab import INNER4, Pair, case, check, check_equal
from schema import faults

CTL = os.path.abspath(os.environ["CTL"])
BOARD = pathlib.Path(__file__).parents[2] / "contrib/grafana/wiregather.json"
SCHEMAS = pathlib.Path(__file__).parents[2] / "contrib/schemas"
# The states of a peer, which docs/statistics.md describes.
STATES = {"established", "none", "silent", "incomplete"}
PROMETHEUS = pathlib.Path(os.environ["PROMETHEUS"])


def ctl(*words, status=0, **options):
    done = lab.run(CTL, *words, check_status=False, **options)
    check_equal(done.returncode, status, f"status of {' '.join(words)}: {done.stdout}")
    return done.stdout


def give_name(pair, name):
    """Name b in the configuration that wg-quick would have for wga."""
    lab.run("mount", "-t", "tmpfs", "none", "/etc/wireguard")
    pair.lab.stack.callback(lab.run, "umount", "/etc/wireguard")
    with open("/etc/wireguard/wga.conf", "w", encoding="utf-8") as file:
        file.write(f"""[Interface]
PrivateKey = {pair.ta.private}
[Peer]
# friendly_name = {name}
PublicKey = {pair.tb.public}
[Peer]
PublicKey = QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=
""")


@case("status for people, as JSON, and for a health check")
def status(l):
    pair = Pair(l)
    give_name(pair, 'the "phone"')
    pair.both_ways(count=1)
    text = ctl("status", "wga")
    check(re.match(r"wga: up, port 51001 \(IPv4, IPv6\), MTU 1420, 1 peer \(1 with a "
                   r"session\), running for \d+ s\n", text), text)
    check(re.search(rf'^  the "phone" +{re.escape(pair.tb.public[:8])}\.\.\.  '
                    rf'{re.escape(pair.endpoint("b"))} +handshake (now|\d+ s ago) +in '
                    r"[0-9.]+ [KMi]*B +out [0-9.]+ [KMi]*B$", text, re.MULTILINE), text)
    check("attention" not in text, text)
    check_equal(sorted(line.split(":")[0] for line in ctl("status").splitlines()
                       if not line.startswith(" ")), ["wga", "wgb"], "interfaces")
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16")
    pair.b.must_not_ping(INNER4["a"])
    shown, = json.loads(ctl("status", "--json", "wga"))
    check_equal((shown["interface"], shown["up"], shown["listen_port"]),
                ("wga", 1, 51001), "JSON")
    peer, = shown["peers"]
    check_equal((peer["public_key"], peer["name"], peer["state"]),
                (pair.tb.public, 'the "phone"', "established"), "the peer")
    check(any("source that is not its own" in line for line in shown["attention"]),
          f"attention: {shown['attention']}")
    check("  attention: " in ctl("status", "wga"), "no attention")
    check_equal(ctl("status", "--quiet"), "", "output")
    check("No such file" in ctl("status", "wgx", status=1), "no such interface")
    check_equal(ctl("status", "--quiet", "wgx", status=1), "", "output")


@case("events for people and as JSON")
def events(l):
    pair = Pair(l)
    readers = {}
    for words in ["events", "--follow"], ["events", "--follow", "--json"]:
        readers[len(words)] = subprocess.Popen(
            [CTL, *words, "wga"], stdout=subprocess.PIPE, text=True)
        l.stack.callback(readers[len(words)].kill)
    # They have asked when the daemon has two more clients.
    time.sleep(0.5 * lab.SLOWNESS)
    pair.b.must_ping(INNER4["a"], count=1)
    line = readers[2].stdout.readline()
    check(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z wga established peer="
                   rf"{re.escape(pair.tb.public)} endpoint=\S+ reason=responder$", line),
          line)
    event = json.loads(readers[3].stdout.readline())
    check_equal((event["interface"], event["event"], event["peer"], event["reason"],
                 event["endpoint"]),
                ("wga", "established", pair.tb.public, "responder",
                 pair.endpoint("b")), "JSON")
    check(re.fullmatch(r"[0-9T:.-]+Z", event["time"]), f"{event}")
    pair.ta.stop()
    for reader in readers.values():
        check_equal(reader.wait(10 * lab.SLOWNESS), 0, "status at the daemon's end")


@case("without --follow: the last events of each peer, the oldest first")
def past_events(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "25")
    lines = [line.split(" ") for line in ctl("events").splitlines()]
    check(all(len(line) == 4 for line in lines), f"lines: {lines}")
    times = [line[0] for line in lines]
    check_equal(times, sorted(times), "the order of the events")
    found = {(line[1], line[2], line[3]) for line in lines}
    for event in "peer-added", "established", "peer-changed":
        check(("wga", event, f"peer={pair.tb.public}") in found, f"no {event} in {lines}")
    check(("wgb", "established", f"peer={pair.ta.public}") in found, f"lines: {lines}")
    check_equal([json.loads(line)["event"] for line in
                 ctl("events", "--json").splitlines()],
                [line[2] for line in lines], "events as JSON")
    check("No such file" in ctl("events", "wgx", status=1), "no such interface")


@case("what --json prints is what the schemas say")
def schemas(l):
    def check_schema(name, value):
        with open(SCHEMAS / f"{name}.json", encoding="utf-8") as file:
            found = faults(value, json.load(file))
        check(not found, f"{name}: {found} in {value}")

    pair = Pair(l)
    give_name(pair, "51")
    # An interface, and a name, of digits only.
    l.tunnel(l.node("c"), "51", 51003).start()
    follower = Follower(l, "wga")
    # It has asked when an event has come.
    follower.wait_for("peer-changed", lambda: pair.ta.set(
        "peer", pair.tb.public, "persistent-keepalive", str(random.randint(60, 600))))
    pair.both_ways(count=1)
    # Much that a daemon can tell: a refused set, two kinds of refused handshakes, a
    # wrong source.
    check("errno=0" not in pair.ta.ask("set=1\nlisten_port=70000\n\n"), "taken")
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16")
    pair.b.must_not_ping(INNER4["a"])
    pair.ta.set("peer", pair.tb.public, "remove")
    pair.tb.flap()
    pair.b.must_not_ping(INNER4["a"])
    lab.wait_until(lambda: any("unknown keys" in line for line in json.loads(
        ctl("status", "--json", "wga"))[0]["attention"]), "a refused handshake", 20)
    shown = json.loads(ctl("status", "--json"))
    check_schema("status", shown)
    for words, status in ((["wga", INNER4["b"]], 3), (["wgb"], 0), (["wgx"], 3)):
        done = pair.a.run(CTL, "why", "--json", "--passive", *words, check_status=False)
        check_equal(done.returncode, status, f"status of why {words}: {done.stdout}")
        check_schema("why", json.loads(done.stdout))
    by_name = {one["interface"]: one for one in shown}
    check_equal(sorted(by_name), ["51", "wga", "wgb"], "interfaces")
    check(any(line.startswith("unknown_peer ") for line in
              by_name["wga"]["handshake_refused_last"]), f"wga: {by_name['wga']}")
    follower.wait_for("refused", lambda: None)
    found = follower.events() + list(map(json.loads, ctl("events", "--json").splitlines()))
    for event in found:
        check_schema("events", event)
    kinds = {event["event"] for event in found}
    check({"established", "peer-changed", "dropped", "refused", "peer-removed"} <= kinds,
          f"events: {kinds}")


class Follower:
    """wiregatherctl events --follow --json."""

    def __init__(self, l, interface):
        self.text = b""
        self.process = subprocess.Popen([CTL, "events", "--follow", "--json", interface],
                                        stdout=subprocess.PIPE)
        l.stack.callback(self.process.wait)
        l.stack.callback(self.process.kill)

    def events(self):
        """All events that have come so far."""
        while select.select([self.process.stdout], [], [], 0)[0]:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            check(data, f"it ends after {self.text}")
            self.text += data
        return [json.loads(line) for line in self.text.split(b"\n")[:-1]]

    def wait_for(self, kind, act):
        """Act again and again until there was an event of this kind."""
        def has_come():
            act()
            return any(event["event"] == kind for event in self.events())

        lab.wait_until(has_come, f"an event {kind}", 30, 0.2)


def parse_metrics(text):
    """Samples by name and labels. Each metric's lines must stand together."""
    samples, done, current = {}, set(), None
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-z_]+)(\{.*\}) (\d+)', line)
        check(match, f"not a sample: {line}")
        base = re.sub(r"_(bucket|sum|count)$", "", match.group(1))
        if base != current:
            check(base not in done, f"{base} stands in two places")
            done.add(base)
            current = base
        samples[match.group(1), match.group(2)] = int(match.group(3))
    return samples


def find(samples, name, *labels):
    found = [value for (key, text), value in samples.items()
             if key == name and all(label in text for label in labels)]
    check_equal(len(found), 1, f"samples {name} {labels} in {samples}")
    return found[0]


@case("metrics: values, both forms, and the file for the node exporter")
def metrics(l):
    pair = Pair(l)
    give_name(pair, 'a \\ "b"')
    pair.both_ways(count=1)
    text = ctl("metrics")
    samples = parse_metrics(text)
    key = f'public_key="{pair.tb.public}"'
    check_equal(find(samples, "wireguard_latest_handshake_seconds", '"wga"', key),
                pair.ta.peer(pair.tb).handshake, "handshake")
    check(find(samples, "wireguard_sent_bytes_total", '"wga"', key,
               r'friendly_name="a \\ \"b\""'.replace("a \\ ", "a \\\\ ")) > 0, text)
    check_equal(find(samples, "wiregather_up", '"wga"'), 1, "up")
    check_equal(find(samples, "wiregather_inbound_dropped_packets_total", '"wgb"',
                     'reason="replayed"'), 0, "replayed")
    for direction in "in", "out":
        buckets = [value for (name, labels), value in samples.items()
                   if name == "wiregather_udp_segments_per_message_bucket" and
                   f'direction="{direction}"' in labels and '"wga"' in labels]
        check_equal(buckets, sorted(buckets), "buckets grow")
        check_equal(buckets[-1], find(
            samples, "wiregather_udp_segments_per_message_count", '"wga"',
            f'direction="{direction}"'), "count")
    open_text = ctl("metrics", "--openmetrics")
    check(open_text.endswith("# EOF\n"), open_text[-200:])
    check("# TYPE wireguard_sent_bytes counter\n# UNIT wireguard_sent_bytes bytes\n"
          in open_text and "# TYPE wiregather_peer info\n" in open_text and
          "# TYPE wiregather_build info\n" in open_text, open_text)
    names = {name for name, _ in samples}
    check_equal({line.split("{")[0] for line in open_text.splitlines()
                 if not line.startswith("#")}, names, "names in both forms")
    directory = l.directory
    ctl("metrics", "--textfile", str(directory))
    with open(f"{directory}/wiregather.prom", encoding="utf-8") as file:
        written = file.read()
    check_equal({name for name, _ in parse_metrics(written)}, names, "in the file")
    check_equal([name for name in os.listdir(directory) if "prom" in name],
                ["wiregather.prom"], "files")
    check("No such file" in ctl("metrics", "--textfile", f"{directory}/none", status=1),
          "a directory that is not there")


def words_of(pattern):
    """The words that a pattern of alternatives stands for."""
    return set(pattern.split("|"))


@case("the board for Grafana asks for labels and values that samples have")
def board(l):
    pair = Pair(l)
    give_name(pair, "phone")
    pair.both_ways(count=1)
    labels = {}
    for name, text in parse_metrics(ctl("metrics")):
        for label, value in re.findall(r'([a-z_]+)="([^"]*)"', text):
            labels.setdefault(name, {}).setdefault(label, set()).add(value)
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    asked = 0
    for target in (t for panel in panels for t in panel.get("targets", ())):
        expression, legend = target["expr"], target["legendFormat"]
        names = re.findall(r"\bwire(?:gather|guard)_[a-z_]+", expression)
        shown = set(re.findall(r"\{\{([a-z_]+)\}\}", legend)) | {
            label for group in re.findall(r"by \(([a-z_, ]+)\)", expression)
            for label in group.split(", ")}
        for name in names:
            check(name in labels, f"no sample of {name}: {expression}")
            missing = shown - set(labels[name])
            check(not missing, f"{name} has no label {missing}: {expression}, {legend}")
            asked += 1
        for label, value in re.findall(r'([a-z_]+)=~?"([^"$]+)"', expression):
            check(label == "state" and words_of(value) <= STATES,
                  f"no {label} is {value}: {expression}")
    check(asked > 20, f"the board asks for {asked} metrics only")


class Scraped:
    """Answers each connection as the socket unit does: by a process of its own."""

    def __init__(self, node):
        self.listener = node.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 9586))
        self.listener.listen(8)
        self.listener.settimeout(None)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with conn:
                subprocess.run([CTL, "metrics", "--http"], stdin=conn, stdout=conn,
                               check=False)


@case("promtool takes the metrics, and Prometheus scrapes them in both forms")
def prometheus(l):
    if not os.access(PROMETHEUS / "promtool", os.X_OK):
        raise lab.Skip(f"no promtool in {PROMETHEUS}: see tools/get-prometheus")
    pair = Pair(l)
    pair.both_ways(count=1)
    done = lab.run(PROMETHEUS / "promtool", "check", "metrics", stdin=ctl("metrics"),
                   check_status=False)
    check_equal((done.returncode, done.stdout), (0, ""), "promtool")
    Scraped(pair.a)
    config = f"{l.directory}/prometheus.yml"
    with open(config, "w", encoding="utf-8") as file:
        file.write("""
scrape_configs:
- job_name: wiregather
  scrape_interval: 1s
  static_configs:
  - targets: ['127.0.0.1:9586']
""")
    pair.a.start(PROMETHEUS / "prometheus", f"--config.file={config}",
                 "--web.listen-address=127.0.0.1:9090",
                 f"--storage.tsdb.path={l.directory}/tsdb")

    def query(expression):
        with pair.a.inside():
            try:
                with urllib.request.urlopen(
                        "http://127.0.0.1:9090/api/v1/query?query=" + expression,
                        timeout=5) as answer:
                    return json.load(answer)["data"]["result"]
            except OSError:
                return []

    lab.wait_until(lambda: query("wireguard_sent_bytes_total"), "a scrape", 60)
    found = {result["metric"]["interface"]: result
             for result in query("wireguard_sent_bytes_total")}
    check_equal(sorted(found), ["wga", "wgb"], "interfaces")
    check_equal(found["wga"]["metric"]["public_key"], pair.tb.public, "the peer")
    check(int(found["wga"]["value"][1]) > 0, f"found: {found}")
    # Prometheus asks for OpenMetrics, and has taken it.
    up, = query("up")
    check_equal(up["value"][1], "1", "up")
    check(query("wiregather_peer_info"), "no info of the peer")


@case("HTTP: the form that is asked for, other paths, and requests that are none")
def http(l):
    tunnel = l.tunnel(l.node("a"), "wga", 51001).start()
    check(tunnel, "started")

    def request(text):
        return ctl("metrics", "--http", stdin=text,
                   status=0 if text.startswith("GET") and text.endswith("\n\n") else 1)

    plain = request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".replace("\r\n", "\n"))
    head, _, body = plain.replace("\r\n", "\n").partition("\n\n")
    check("HTTP/1.0 200 OK" in head and "version=0.0.4" in head, head)
    length = int(re.search(r"Content-Length: (\d+)", head).group(1))
    check_equal(len(body.encode()), length, "length")
    asked = request("GET /metrics HTTP/1.1\nAccept: application/openmetrics-text; "
                    "version=1.0.0,text/plain;q=0.5\n\n")
    check("application/openmetrics-text; version=1.0.0" in asked and
          asked.endswith("# EOF\n"), asked[:300])
    check("404" in request("GET / HTTP/1.0\n\n"), "another path")
    check("404" in request("GET /metricsx HTTP/1.0\n\n"), "another path")
    check("400" in request("GET"), "half a request")
    check("400" in request("x" * 20000), "a request without end")


class Listener:
    """wiregatherctl metrics --listen in a node's namespace."""

    def __init__(self, node, *words, place="127.0.0.1:9586"):
        self.node = node
        self.process = node.start(CTL, "metrics", *words)
        host, _, port = place.rpartition(":")
        self.family = socket.AF_INET6 if "[" in host else socket.AF_INET
        self.place = host.strip("[]"), int(port)
        lab.wait_until(lambda: f"http://{place}/metrics\n" == self.output(),
                       f"it listens on {place}", 20)

    def output(self):
        check(self.process.poll() is None, "it has ended")
        with open(self.process.log.name, encoding="utf-8") as file:
            return file.read()

    def connect(self, text=""):
        sock = self.node.socket(self.family, socket.SOCK_STREAM)
        sock.settimeout(60 * lab.SLOWNESS)
        sock.connect(self.place)
        sock.sendall(text.encode())
        return sock

    def ask(self, text):
        """The whole answer to a request."""
        sock = self.connect(text)
        parts = []
        while data := sock.recv(1 << 16):
            parts.append(data)
        sock.close()
        return b"".join(parts).decode()


@case("metrics by HTTP on loopback: forms, clients that stall, and other addresses")
def listen(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    server = Listener(pair.a, "--listen")
    request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    head, _, body = server.ask(request).partition("\r\n\r\n")
    check(head.startswith("HTTP/1.0 200 OK\r\n") and "version=0.0.4" in head, head)
    check_equal({name for name, _ in parse_metrics(body)},
                {name for name, _ in parse_metrics(ctl("metrics"))}, "names")
    check(server.ask("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n"
                     "\r\n").endswith("# EOF\n"), "no OpenMetrics")
    check("404" in server.ask("GET / HTTP/1.0\r\n\r\n"), "another path")
    check("400" in server.ask("x" * 8191), "a request without an end")
    # Interfaces are looked for at each request.
    l.tunnel(l.node("c"), "wgc", 51003).start()
    check('interface="wgc"' in server.ask(request), "no wgc")
    # More clients than places: some that send nothing, some that send a half, some that
    # never read, and some that are gone.
    stalled = [server.connect(text) for text in
               ("", "GET /metrics HTTP", request, "", "") * 4]
    for _ in range(20):
        server.connect(request[:30]).close()
    check("200 OK" in server.ask(request), "stalled clients keep others out")
    for sock in stalled:
        sock.close()
    # A second one on this address, and one of IPv6 for one interface.
    done = pair.a.run(CTL, "metrics", "--listen=127.0.0.1:9586", check_status=False)
    check(done.returncode == 1 and "Address already in use" in done.stdout, done.stdout)
    other = Listener(pair.a, "--listen", "[::1]:9587", "wga", place="[::1]:9587")
    text = other.ask(request)
    check('interface="wga"' in text and 'interface="wgb"' not in text, text)
    for address, complaint in (("0.0.0.0:9586", "not a loopback address"),
                               (lab.OUTER4["a"] + ":9586", "not a loopback address"),
                               ("[::]:9586", "not a loopback address"),
                               ("[::ffff:127.0.0.1]:1", "not a loopback address"),
                               ("localhost:9586", "not ADDRESS:PORT"),
                               ("127.0.0.1", "not ADDRESS:PORT"),
                               ("127.0.0.1:", "not ADDRESS:PORT"),
                               ("127.0.0.1:65536", "not ADDRESS:PORT"),
                               ("::1:80", "not ADDRESS:PORT")):
        check_equal(ctl("metrics", f"--listen={address}", status=2),
                    f"wiregatherctl: --listen: {complaint}: {address}\n", "complaint")


@case("wrong command lines, and a user without the right")
def usage(l):
    for words, complaint in ((), "missing: command"), (
            ("nonsense",), "no such command: nonsense"), (
            ("status", "--nonsense"), "no such option: --nonsense"), (
            ("status", "--http"), "no such option: --http"), (
            ("status", "--follow"), "no such option: --follow"), (
            ("metrics", "--textfile"), "no value: --textfile"):
        text = ctl(*words, status=2)
        check(text.startswith(f"wiregatherctl: {complaint}\n"), text)
    check_equal(ctl("--version").split()[0], "wiregatherctl", "version")
    check("no interface" in ctl("status", status=1), "without interfaces")
    check_equal(parse_metrics(ctl("metrics")), {}, "metrics without interfaces")
    l.tunnel(l.node("a"), "wga", 51001).start()
    done = lab.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", CTL,
                   "status", "wga", check_status=False)
    check(done.returncode == 1 and "--stats-group" in done.stdout,
          f"{done.returncode}: {done.stdout}")


lab.main()
