"""Benchmarks: commands that anyone can run, each beside a limit or a peer in the same run."""
