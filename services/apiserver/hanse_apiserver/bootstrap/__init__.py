"""What every cluster has from its first second, kept in the federation for clients that look for it.

Nothing of it reaches a member: each has its own (`hanse.federation.belongings`). Start at
`hanse_apiserver.bootstrap.objects`.
"""
