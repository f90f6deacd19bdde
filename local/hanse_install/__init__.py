"""`kubefed init` and `kubefed deinit`: a federation in a host cluster, made and taken out with kubectl.

What is applied is what `deploy/k8s` has, with the flags as patches on top; nothing else knows how a
federation is installed. Start reading at `commands`, then `installing` and `removing`.
"""
