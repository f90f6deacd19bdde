"""A federation of real processes without simulated clusters, to join real clusters to.

    async with Federation(tmp_path) as federation:
        await federation.join("eu", clusters["eu"].kubeconfig_path)
        async with federation.api() as api:
            await api.create("/api/v1/namespaces", {...})
        federation.kill("syncer")        # it is started again

It is started and used as a user does: by the `hanse` command.
"""

from .federation import SERVICES, CommandError, Federation

__all__ = ["SERVICES", "CommandError", "Federation"]
