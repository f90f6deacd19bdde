"""The apiserver: what users want, over Kubernetes' REST API and over FederationService.

Start reading at `hanse_apiserver.app`.
"""
