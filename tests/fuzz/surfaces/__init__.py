"""What takes input from outside, one module each: requests, RPCs, packets, members' answers, decoders."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.engine import Surface
from tests.fuzz.surfaces.decoders import Decoders
from tests.fuzz.surfaces.members import Members
from tests.fuzz.surfaces.packets import Packets
from tests.fuzz.surfaces.rest import Rest
from tests.fuzz.surfaces.rpcs import Rpcs

SURFACES: dict[str, Callable[[], Surface]] = {
    surface.name: surface for surface in (Decoders, Members, Packets, Rest, Rpcs)
}
