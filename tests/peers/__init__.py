"""Tests of the peer store, the directory and the limits."""
