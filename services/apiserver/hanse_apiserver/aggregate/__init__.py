"""One status out of many: what the members report of an object, folded as a user of one cluster expects it.

`aggregate` is the entry; `members` has the inputs, `conditions` folds conditions, `workloads`, `jobs` and
`others` know the kinds, `generation` decides when a change counts as observed. Everything here is pure.

Next: `hanse_apiserver.views.view`, which calls this for each object that somebody reads.
"""

from hanse_apiserver.aggregate.fold import aggregate
from hanse_apiserver.aggregate.members import Decision, Member

__all__ = ["Decision", "Member", "aggregate"]
