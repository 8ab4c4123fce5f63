"""Benchmarks: run by hand, never collected. The last line of each is one JSON object."""
