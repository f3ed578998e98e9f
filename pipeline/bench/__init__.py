"""Benchmarks: long measurements, run as commands, never as tests."""
