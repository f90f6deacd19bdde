"""A simulated member cluster: the real Kubernetes API over the `hanse.kube` engine, with small controllers.

Nothing runs in the Pods. Everything else is as in a cluster: what kubectl and the syncer see comes from the
same engine that Hanse's apiserver uses, and objects change because controllers change them.

Next: `hanse_simulator.app`, which puts a cluster together.
"""
