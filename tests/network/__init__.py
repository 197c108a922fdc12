"""Clients behind simulated NATs and firewalls reach each other by a real server, in network namespaces.

Needs root. ``pytest tests/network`` takes a sample of the matrix, which changes with the commit, beside the
cells that are always measured. ``make network`` (RENDEZVOUS_NETWORK=all) takes everything, and
``python -m tests.network.report FILE`` writes what it measures as a table.
"""
