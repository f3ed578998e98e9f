"""The capture of packets knows those of Lab Streaming Layer."""

from __future__ import annotations

import struct

import pytest

from pipeline.bench.capture import IPV4, IPV6, TCP, UDP, Capture, concerns, memberships


def packet(target: str, port: int, transport: int = UDP) -> bytes:
    """An IPv4 packet with options of 4 bytes."""
    head = bytes([0x46, 0]) + bytes(7) + bytes([transport]) + bytes(2) + bytes([192, 0, 2, 7])
    return head + bytes(map(int, target.split("."))) + bytes(4) + struct.pack("!HH", 40000, port)


@pytest.mark.parametrize(
    ("protocol", "data", "what"),
    [
        (IPV4, packet("239.255.172.215", 16571), "multicast"),
        (IPV4, packet("255.255.255.255", 16571), "multicast"),
        (IPV4, packet("198.51.100.3", 16573, TCP), "unicast"),
        (IPV4, packet("224.0.0.22", 0, 2), "joins a group"),
        (IPV4, packet("239.255.172.215", 5353), ""),
        (IPV4, packet("198.51.100.3", 443, TCP), ""),
        (IPV4, packet("198.51.100.3", 16573, 1), ""),
        (IPV4, b"short", ""),
        (IPV6, bytes(6) + bytes([UDP]) + bytes(17) + b"\xff\x05" + bytes(14)
         + struct.pack("!HH", 1, 16571), "multicast"),
        (0x0806, packet("239.255.172.215", 16571), ""),
    ],
)  # fmt: skip
def test_packets_are_known_by_their_ports_and_targets(protocol, data, what):
    assert concerns(protocol, data) == what


def test_a_capture_says_what_it_saw(monkeypatch):
    seen = iter([{"1 a"}, *[{"1 a", "2 b"}] * 99])
    monkeypatch.setattr("pipeline.bench.capture.memberships", lambda: next(seen))
    with Capture() as capture:
        pass
    assert capture.line().endswith("groups joined: 2 b.")
    assert isinstance(memberships(), set)
