"""What the API engine and a real kube-apiserver answer to the same requests.

`sides` sends and records, `scenarios_*` are the requests, `objects` what they send, `compare` finds what
differs, and `known` says which differences are meant, and why. Concurrency: a scenario runs on both sides at
once, in one event loop. Start reading at `sides`.
"""
