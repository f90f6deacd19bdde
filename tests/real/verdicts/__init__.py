"""Whether the API engine and a real kube-apiserver accept the same objects.

`manifests` are objects that are fine, `breaking` makes objects of them that may not be, and `verdicts` asks
both. `python -m tests.real.verdicts KUBECONFIG` compares everything; the tests take a sample. Start reading
at `breaking`.
"""
