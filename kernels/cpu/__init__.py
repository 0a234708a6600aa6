"""Kernels for processors, compiled by Numba when they are first needed."""
