"""Watches whether packets of Lab Streaming Layer leave this computer.

A raw socket sees what every network interface sends. Only Linux has it, and only root may open it.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType

EVERY_PROTOCOL, OUTGOING = 3, 4  # ETH_P_ALL and PACKET_OUTGOING of linux/if_ether.h, if_packet.h
IPV4, IPV6, TCP, UDP, IGMP = 0x0800, 0x86DD, 6, 17, 2
PORTS = range(16571, 16572 + 256)  # of Lab Streaming Layer: for multicast, then for each stream
WAIT_SECONDS = 0.2
MEMBERSHIPS = ("/proc/net/igmp", "/proc/net/igmp6")


def concerns(protocol: int, packet: bytes) -> str:
    """Say what a packet has to do with Lab Streaming Layer; nothing for most packets.

    Parameters
    ----------
    protocol : int
        Of the frame: `IPV4`, `IPV6` or another one.
    packet : bytes
        Without the frame's header.
    """
    if protocol == IPV4 and len(packet) >= 20:
        size, transport, target = 4 * (packet[0] & 15), packet[9], packet[16:20]
        many = target[0] >= 224 or target == b"\xff" * 4
    elif protocol == IPV6 and len(packet) >= 40:
        size, transport, target = 40, packet[6], packet[24:40]
        many = target[0] == 0xFF
    else:
        return ""
    if transport == IGMP:
        return "joins a group"
    ports = struct.unpack("!HH", packet[size : size + 4]) if len(packet) >= size + 4 else ()
    if transport not in (TCP, UDP) or not any(port in PORTS for port in ports):
        return ""
    return "multicast" if many else "unicast"


def memberships() -> set[str]:
    """Give the multicast groups that this computer listens to, with their interfaces' numbers."""
    groups, interface = set(), ""
    four, six = (Path(file) for file in MEMBERSHIPS)
    for line in four.read_text(encoding="ascii").splitlines()[1:] if four.exists() else ():
        if line[0].isspace():  # a group of the interface above
            groups.add(f"{interface} {line.split()[0]}")
        else:
            interface = line.split()[0]
    for line in six.read_text(encoding="ascii").splitlines() if six.exists() else ():
        number, _, group, *_ = line.split()
        groups.add(f"{number} {group}")
    return groups


class Capture:
    """Counts the packets that leave while it is open.

    Attributes
    ----------
    left : Counter or None
        How many packets left, by what `concerns` says; None where nothing can be captured.
    joined : set of str
        Multicast groups that the computer has begun to listen to.
    """

    def __init__(self) -> None:
        self.left: Counter[str] | None = None
        self.joined: set[str] = set()
        self.interfaces: list[str] = []

    def __enter__(self) -> Capture:
        self._before, self._closed = memberships(), threading.Event()
        try:
            # Through `getattr`, because other systems have no such sockets.
            family = getattr(socket, "AF_PACKET", None)
            if not sys.platform.startswith("linux") or family is None:
                return self
            self._socket = socket.socket(family, socket.SOCK_DGRAM, socket.htons(EVERY_PROTOCOL))
        except PermissionError:
            return self
        self._socket.settimeout(WAIT_SECONDS)
        self.left = Counter()
        self.interfaces = [name for _, name in socket.if_nameindex() if name != "lo"]
        self._thread = threading.Thread(target=self._watch, args=(self.left,))
        self._thread.start()
        return self

    def _watch(self, left: Counter[str]) -> None:
        looked = 0.0
        while not self._closed.is_set():
            if time.monotonic() - looked > WAIT_SECONDS:
                self.joined |= memberships() - self._before
                looked = time.monotonic()
            try:
                packet, (name, protocol, kind, *_) = self._socket.recvfrom(1 << 16)
            except TimeoutError:
                continue
            if kind == OUTGOING and name != "lo" and (what := concerns(protocol, packet)):
                left[what] += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.joined |= memberships() - self._before
        if self.left is not None:
            self._closed.set()
            self._thread.join()
            self._socket.close()

    def line(self) -> str:
        """Say in one sentence what was seen."""
        groups = f"; groups joined: {', '.join(sorted(self.joined)) or 'none'}."
        if self.left is None:
            return f"Packets were not captured: that takes Linux and root{groups}"
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(self.left.items())) or "none"
        return (
            f"Packets of Lab Streaming Layer that left this computer (raw capture on "
            f"{', '.join(self.interfaces)}): {kinds}{groups}"
        )
