"""What the federation wants, as the syncer follows it. Next: `hanse_syncer.federation.state`."""
