"""What system tests stand on: a federation of real processes, its members, and patience with a deadline.

    federation = Federation(tmp_path / "data", members=Simulated(3))
    federation.up()
    federation.kubectl("apply", "-f", "-", stdin=manifest)
    until(lambda: federation.member("eu-west").find("configmaps", "shop", "web"), what="it arrives")

Everything is synchronous, as a person at a shell is. Start reading at `federation`.
"""

from .api import Api, ApiError, Json
from .federation import SERVICES, CommandError, Done, Federation
from .members import NAMES, REGIONS, Members, Simulated
from .standalone import Standalone
from .waiting import until, until_passes
from .witness import Witness

__all__ = [
    "NAMES",
    "REGIONS",
    "SERVICES",
    "Api",
    "ApiError",
    "CommandError",
    "Done",
    "Federation",
    "Json",
    "Members",
    "Simulated",
    "Standalone",
    "Witness",
    "until",
    "until_passes",
]
