"""The system suite against real Kubernetes: the same tests as `tests/system/test_suite.py`."""

import shutil

import pytest

from tests.system.suite.acceptance import AcceptanceSuite
from tests.system.suite.exclusives import ExclusiveSuite
from tests.system.suite.guides import GuidesSuite
from tests.system.suite.intents import IntentSuite
from tests.system.suite.jobs import JobSuite
from tests.system.suite.membership import MembershipSuite
from tests.system.suite.moving import MovingSuite
from tests.system.suite.objects import ObjectSuite
from tests.system.suite.ownership import OwnershipSuite
from tests.system.suite.placing import PlacingSuite
from tests.system.suite.statuses import StatusSuite
from tests.system.suite.telemetry import TelemetrySuite

pytestmark = pytest.mark.kubectl


@pytest.fixture(scope="module", autouse=True)
def kubectl() -> None:
    """The suite drives kubectl; without it nothing is started."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")


class TestAcceptance(AcceptanceSuite):
    """The README's first page, without `make run`."""


class TestObjects(ObjectSuite):
    """Writes of a user."""


class TestPlacing(PlacingSuite):
    """Where objects go."""


class TestOwnership(OwnershipSuite):
    """Whose objects are whose."""


class TestStatuses(StatusSuite):
    """One status for many members."""


class TestIntents(IntentSuite):
    """Status against the intent."""


class TestTelemetry(TelemetrySuite):
    """What operators see."""


class TestGuides(GuidesSuite):
    """What the guides show."""


class TestJobs(JobSuite):
    """Work that is done is done."""


class TestMoving(MovingSuite):
    """Moving without a gap."""


class TestExclusives(ExclusiveSuite):
    """What must not run twice."""


class TestMembership(MembershipSuite):
    """Joining and leaving. Last, because a member leaves."""
