"""The programs of `benchmarks/arrays.py`, in every framework, and how they are measured."""
