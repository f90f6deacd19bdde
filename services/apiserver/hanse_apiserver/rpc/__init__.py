"""FederationService: the federation's objects over gRPC."""
