"""Makes ``twistd rendezvous`` known; everything else is in rendezvous.tap."""

from typing import Any

from twisted.application.service import ServiceMaker

_SIGNS = ("failed to map segment", "annot allocate memory")
"""What is said of a library for which there is no memory."""


class _ServiceMaker(ServiceMaker):
    """One whose module may not fit into the memory that there is: the process ends with one sentence then."""

    @property
    def options(self) -> Any:
        """See IServiceMaker."""
        try:
            return super().options
        except (MemoryError, ImportError, OSError) as error:
            if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
                raise
        raise SystemExit("There is not enough memory to start; give it more.")


rendezvous = _ServiceMaker(
    "rendezvous",
    "rendezvous.tap",
    "RustDesk ID/rendezvous server (hbbs) and relay server (hbbr)",
    "rendezvous",
)
