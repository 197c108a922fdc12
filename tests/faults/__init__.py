"""Servers on a machine that fails: what was acknowledged stays, and the service goes on or ends clearly."""
