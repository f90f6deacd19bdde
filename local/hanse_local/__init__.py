"""A federation on one machine: `hanse up`, `hanse down`, `hanse status`, `hanse sim`.

Read `commands` for what a user types, `federation` for what one consists of, `supervisor` for how its
processes are kept running.
"""
