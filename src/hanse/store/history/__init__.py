"""The change history: what happened lately, and how it is streamed, in one place.

- `contract`: what every watch promises, over REST and over gRPC
- `changes`: what a change is, and how one looks through a selection
- `log`: the bounded log of changes, and the readers that follow it
- `logged`: a history in memory, of a followed collection or of an API server's objects
- `stored`: the store's own history, of which nothing is kept in memory

Next: `hanse.store.history.contract`.
"""
