"""Shared state: counters, buckets, leases, lists and values with a lifetime."""
