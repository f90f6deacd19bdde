"""Connections to one HTTP/1.1 server."""
