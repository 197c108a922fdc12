"""What browsers are sent: pages made from templates, and files as they are."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from twisted.web.http import NOT_FOUND

from rendezvous.admin.pages.formats import FORMATS
from rendezvous.admin.pages.visitors import Refused, Visitors

_STATIC = {
    "style.css": b"text/css",
    "overview.js": b"text/javascript",
    "live.js": b"text/javascript",
    "icon.svg": b"image/svg+xml",
}


class Templates:
    """The templates, all of which are loaded at once: after --uid they may be unreadable."""

    def __init__(self, visitors: Visitors) -> None:
        environment = Environment(
            loader=PackageLoader("rendezvous.admin.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            auto_reload=False,
        )
        environment.filters |= FORMATS
        self._loaded = {name: environment.get_template(name) for name in environment.list_templates()}
        self._visitors = visitors

    def page(self, request: Any, name: str, **values: Any) -> bytes:
        """A page from its template."""
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        shared = {
            "page": name,
            "token": self._visitors.token(request),
            "menu": self._visitors.may(request),
            "login": self._visitors.logins.needed,
        }
        return self._loaded[f"{name}.html"].render(shared | values).encode()


class StaticFiles:
    """Style, scripts and icon, which are read at once as well."""

    def __init__(self) -> None:
        self._files = {name: Path(__file__).with_name("static").joinpath(name).read_bytes() for name in _STATIC}

    def icon(self, request: Any) -> bytes:
        """The icon, where browsers look for it."""
        return self.file(request, "icon.svg")

    def file(self, request: Any, name: str) -> bytes:
        """One of the files. Raises Refused."""
        if name not in self._files:
            raise Refused(NOT_FOUND, "There is nothing here.")
        request.setHeader(b"Content-Type", _STATIC[name] + b"; charset=utf-8")
        return self._files[name]
