"""Clients that speak the rendezvous protocol over plain sockets, written from the protocol alone."""
