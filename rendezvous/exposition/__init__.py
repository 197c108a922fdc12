"""Prometheus: what the parts of the servers count and hold, read when somebody asks (docs/metrics.md).

Nothing here is imported unless --metrics is given.
"""
