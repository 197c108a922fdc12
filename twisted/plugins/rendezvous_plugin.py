"""Makes ``twistd rendezvous`` known; everything else is in rendezvous.tap."""

from twisted.application.service import ServiceMaker

rendezvous = ServiceMaker(
    "rendezvous",
    "rendezvous.tap",
    "RustDesk ID/rendezvous server (hbbs) and relay server (hbbr)",
    "rendezvous",
)
