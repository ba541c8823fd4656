#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Puts an implementation of WireGuard under load. It sends bursts of initiations
that have a right MAC1 but come from no peer. To make a MAC1 the public key is
enough.

usage: storm.py ADDRESS PORT PUBLIC-KEY SECONDS DEVICE
Meanwhile it prints the handshake messages on the device whose two ports are
both PORT: "in" or "out", the type, and for an initiation whether it carries a
cookie (MAC2). The program ends after the first response.
"""
import base64
import hashlib
import os
import socket
import struct
import sys
import threading
import time

# Initiations of a burst, and seconds between bursts. Choices: the cookie cases need
# that the receiver counts this as load.
BURST = 900
PAUSE = 0.3
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
INITIATION_LEN = 148
NAMES = {1: "initiation", 2: "response", 3: "cookie"}


def initiation(key):
    """Make an initiation that passes the check of MAC1 and fails later."""
    message = struct.pack("<I", 1) + os.urandom(INITIATION_LEN - 36)
    mac1 = hashlib.blake2s(message, digest_size=16, key=key).digest()
    return message + mac1 + bytes(16)


def watch(device, port, end, stop):
    """Print the messages until the time is over or a response was seen."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                            socket.htons(ETH_P_ALL))
    packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    packets.bind((device, ETH_P_ALL))
    packets.settimeout(0.2)
    while time.monotonic() < end:
        try:
            packet, where = packets.recvfrom(2048)
        except TimeoutError:
            continue
        # IPv4 without options, UDP, both ports.
        if packet[0] != 0x45 or packet[9] != socket.IPPROTO_UDP or \
                packet[20:24] != struct.pack(">HH", port, port):
            continue
        message = packet[28:]
        name = NAMES.get(message[0])
        if not name:
            continue
        way = "out" if where[2] == socket.PACKET_OUTGOING else "in"
        cookie = " with cookie" if name == "initiation" and \
            any(message[132:148]) else ""
        print(f"{way} {name}{cookie}", flush=True)
        if name == "response":
            stop.set()
            return


def main():
    address, port, public, seconds, device = sys.argv[1:]
    port, end = int(port), time.monotonic() + float(seconds)
    key = hashlib.blake2s(b"mac1----" + base64.b64decode(public)).digest()
    burst = [initiation(key) for _ in range(BURST)]
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(device, port, end, stop))
    watcher.start()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while time.monotonic() < end and not stop.wait(PAUSE):
        for message in burst:
            sender.sendto(message, (address, port))
    watcher.join()


main()
