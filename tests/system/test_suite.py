"""The suites against simulated members. `tests/real/test_system.py` runs the same against real ones."""

from __future__ import annotations

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
