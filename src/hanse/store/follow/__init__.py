"""Following the store: list, watch, list again, in one place.

- `list_watch`: the machine, which feeds a consumer and knows how far it is
- `listing`, `batches`: one list at one revision; long batches in parts
- `watermark`: how far one range is, and who waits for more
- `collection`: the decoded values of a prefix, and its subscribers
- `follower`: collections fed by one list-watch; what services use

Next: `hanse.store.follow.list_watch`.
"""

from hanse.store.follow.collection import Collection, OnChange, Versioned
from hanse.store.follow.follower import Follower
from hanse.store.follow.list_watch import Commit, Consumer, ListWatch

__all__ = ["Collection", "Commit", "Consumer", "Follower", "ListWatch", "OnChange", "Versioned"]
