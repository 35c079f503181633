"""Splits, metrics, the one training loop, recipes and benchmarks."""
