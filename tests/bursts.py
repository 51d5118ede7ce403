"""Packets of a burst, for tests: as the injector would send them."""

from cttui.lab.compose import compile
from cttui.lab.preview import packet


def packets(notation: str, count: int = 1, seed: int = 0) -> list[bytes]:
    """The first `count` packets of a burst in scapy's notation."""
    templates = compile(notation, count)
    return [packet(templates, i, seed) for i in range(count)]
