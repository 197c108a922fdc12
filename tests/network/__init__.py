"""Clients behind simulated NATs and firewalls reach each other by a real server, in network namespaces.

Needs root. ``pytest tests/network`` takes a sample of the matrix, RENDEZVOUS_NETWORK=all all of it, and
``python -m tests.network.report FILE`` writes what it measures as a table.
"""
