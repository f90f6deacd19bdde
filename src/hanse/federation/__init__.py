"""What all services must agree on: each law of the federation, once, as pure functions.

By question: `confirmation` (has an object left a cluster?), `clusters` (is it ready, reachable, leaving?),
`placements` (which clusters does one name?), `contention` (does somebody undo what is put right?),
`jobs` (may a Job be started, how far is it, and which
completions of an Indexed Job?), `references` (are two of one object?), `records` (what is stored?),
`propagation` (what goes to members?), `belongings` (what is a cluster's own?), `tracing` (which change is it
of?). `kinds`, `schemas`, `policies` and `strategies` are the kinds of hanse.dev; `events` is how
services record Events.

A rule that two services need comes here in the change that makes the second one need it (ADR 22). Next:
`hanse.federation.confirmation`, the most important one.
"""
