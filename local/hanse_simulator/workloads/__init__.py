"""Controllers of workloads: what turns Deployments, StatefulSets, DaemonSets and Jobs into Pods.

Each reads the world, compares it with the spec, does the difference and writes the status; doing it twice
changes nothing. Next: `hanse_simulator.workloads.replicasets`.
"""
