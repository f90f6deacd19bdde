"""The command `hanse`.

Read `main` for how it is put together, `generated` for the commands that are made from the descriptors of
the services, and `apply`, `explain`, `clusters` and `names` for those written for people.
"""
