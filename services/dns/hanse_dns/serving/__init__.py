"""Answering questions, over UDP and TCP."""
