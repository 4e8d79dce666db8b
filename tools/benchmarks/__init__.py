"""Benchmarks: ratios in one process, medians."""
