"""RustDesk's ID/rendezvous server (hbbs) and relay server (hbbr) as a Twisted application plugin.

One way through, the same for every message:

    bytes -> wire -> dispatch -> one function named after what it does -> peers -> replies -> transport

Begin with tap.py (how everything is wired), then hbbs/dispatch.py (what is spoken), then
hbbs/registration.py (one conversation whole); on the relay side hbbr/pairing.py.
"""

__version__ = "0.1.0"
