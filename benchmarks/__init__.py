"""What each number in docs/performance.md is made by: `make bench`, or `python -m benchmarks --help`.

Four sections, all against the same three real API servers of one run:

- `bulk`: many ConfigMaps created, updated and deleted, straight in every member (the floor) and by Hanse;
- `single`: the same for one object at a time while nothing else happens;
- `idle`: what the control plane costs when nothing changes;
- `restart`: what the syncer writes and how long it takes after a restart with many objects in sync.

The client that is measured (`load`) and the watches that tell when an object has arrived (`watching`) are
processes of their own. Both read CLOCK_MONOTONIC, which all processes of a machine share.

Start reading at `sections`.
"""
