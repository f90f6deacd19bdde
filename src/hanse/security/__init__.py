"""Identities, certificates, keys, and what is sealed with them."""
