"""Controllers of Services: addresses, ports and endpoints. Next: `hanse_simulator.network.services`."""
