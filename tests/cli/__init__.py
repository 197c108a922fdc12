"""Tests of the rendezvous command without a server."""
