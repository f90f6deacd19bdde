"""The controllers of a simulated cluster."""
