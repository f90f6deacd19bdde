"""Hanse's scheduler: which clusters an object goes to, how many replicas each gets, and why.

Start reading at `decision`, the pure function that everything else serves.
"""
