#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that manage or watch WireGuard, with wiregather in the place of wireguard-go.

usage: fleet.py DAEMON DIRECTORY; DIRECTORY is that of tests/fleet/get
"""
import os
import pathlib
import re
import shutil
import sys
import urllib.request

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/netns"))

# pylint: disable=wrong-import-position
import lab
from lab import Pair, case, check, check_equal

BIN = pathlib.Path(sys.argv.pop(2) if len(sys.argv) > 2 else "build/fleet") / "bin"
BIN = BIN.resolve()
MANIFEST = ROOT / "contrib/kubernetes/kilo-sidecar.yaml"


def program(name):
    path = BIN / name
    if not os.access(path, os.X_OK):
        raise lab.Skip(f"there is no {name}: tests/fleet/get says why")
    return str(path)


def two_devices(l):
    """Two interfaces in a node; they have statistics sockets, too."""
    node = l.node("a")
    tunnels = [l.tunnel(node, f"wg{i}", 51820 + i).start() for i in range(2)]
    for tunnel in tunnels:
        tunnel.configure()
        tunnel.up()
    return node, tunnels


@case("wgctrl-go: its own integration tests")
def wgctrl(l):
    path = program("wgctrl.test")
    node, _ = two_devices(l)
    done = node.run(path, "-test.v", "-test.run", "Integration", timeout=300,
                    env={**os.environ, "WGCTRL_INTEGRATION": "yesreallydoit"},
                    check_status=False)
    passed = re.findall(r"--- PASS: TestIntegrationClient/(\S+)/wg[01] ", done.stdout)
    print(f"# {len(passed)} of its cases passed", flush=True)
    check(done.returncode == 0 and "--- SKIP" not in done.stdout, done.stdout[-3000:])
    check_equal(len(passed), 2 * len(set(passed)), f"cases {passed}")
    check(len(set(passed)) >= 6, f"cases {passed}")


@case("wgctrl-go lists each interface once, and nothing else")
def listed(l):
    path = program("calls")
    node, _ = two_devices(l)
    check_equal(node.run(path, "list").stdout,
                "wg0 userspace 51820 0\nwg1 userspace 51821 0\n", "the list")


@case("wg-portal: its calls")
def portal(l):
    path = program("calls")
    node, _ = two_devices(l)
    node.run(path, "portal", "wg0")


@case("kilo: its calls, to a daemon with the arguments of the sidecar's manifest")
def kilo(l):
    path = program("calls")
    try:
        import yaml  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise lab.Skip("there is no python3-yaml here") from None
    with open(MANIFEST, encoding="utf-8") as file:
        spec = yaml.safe_load(file)["spec"]["template"]["spec"]
    sidecar, = [c for c in spec["containers"] if c["name"] == "wiregather"]
    check_equal({m["mountPath"] for m in sidecar["volumeMounts"]},
                {"/var/run/wireguard"}, "mounts")
    check({m["name"] for m in sidecar["volumeMounts"]} <=
          {v["name"] for v in spec["volumes"]}, "a volume that is not there")
    node = l.node("a")
    process = node.start(l.daemon, *sidecar["args"], env={
        **os.environ, **{e["name"]: e["value"] for e in sidecar["env"]}})
    name = sidecar["args"][-1]
    lab.wait_until(lambda: node.run("wg", "show", name,
                                    check_status=False).returncode == 0,
                   f"{name} can be asked", 20)
    check_equal(process.poll(), None, "the daemon stays in the foreground")
    node.run(path, "kilo", name)


def scrape(node, port):
    """What an exporter serves on 127.0.0.1, as text."""
    def get():
        with node.inside():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics",
                                            timeout=10) as answer:
                    return answer.read().decode()
            except OSError:
                return None
    return lab.wait_until(get, "the exporter answers", 30)


def exporter(l, name, *arguments):
    path = program(name)
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.a.ip("link set lo up")
    process = pair.a.start(path, *arguments)
    text = scrape(pair.a, 9586)
    sent = [line for line in text.splitlines()
            if re.match(r"wireguard_(peer_transmit|sent)_bytes", line) and
            pair.tb.public in line]
    check_equal(len(sent), 1, f"samples of the peer in {text}")
    check(float(sent[0].split()[-1]) > 0, f"sample {sent}")
    check(process.poll() is None, "the exporter has ended")


@case("mdlayher's wireguard_exporter")
def go_exporter(l):
    exporter(l, "wireguard_exporter", "-metrics.addr", "127.0.0.1:9586")


@case("prometheus_wireguard_exporter")
def rust_exporter(l):
    exporter(l, "prometheus_wireguard_exporter", "-l", "127.0.0.1", "-p", "9586")


lab.main(None if shutil.which("ip") else "there is no ip here")
