"""The engine of an API server: a cache that follows the store, and writes as transactions."""
