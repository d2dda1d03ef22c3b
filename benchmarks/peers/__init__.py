"""Peers of the benchmarks; each runs in a virtual environment of its own."""
