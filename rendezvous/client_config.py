"""A server's settings in the forms that clients take them (docs/protocol.md, "Handing over settings")."""

import base64
import json
from dataclasses import dataclass

from rendezvous.identity import Identity
from rendezvous.settings import Settings

_DEFAULT_PORT = 21116
_HTTPS_PORT = 443
_NOT_IN_FILE_NAMES = frozenset('<>:"/\\|?*,')
"""What Windows does not allow, and the comma, which would end a part."""


@dataclass(frozen=True)
class ClientConfig:
    """What a client has to know. `relay` and `api` are empty where the client finds them by itself."""

    host: str
    key: str
    relay: str = ""
    api: str = ""

    def json(self) -> str:
        """Plain JSON, as the clipboard import and phones take it too."""
        return json.dumps(
            {"host": self.host, "relay": self.relay, "api": self.api, "key": self.key}, separators=(",", ":")
        )

    def import_string(self) -> str:
        """For "Import server config" and ``rustdesk --config``: base64url of the JSON, reversed.

        It never contains ``--``, which clients would not take: that needs a byte above 127.
        """
        return base64.urlsafe_b64encode(self.json().encode("ascii")).decode().rstrip("=")[::-1]

    def qr_text(self) -> str:
        """What a QR code for phones holds."""
        return f"config={self.json()}"

    def installer_name(self) -> str:
        """The name that tells a Windows installer this server: in plain words where a file name can hold them."""
        parts = (("host", self.host), ("key", self.key), ("api", self.api), ("relay", self.relay))
        if any(_NOT_IN_FILE_NAMES & set(value) for _, value in parts):
            return f"rustdesk-licensed-{self.import_string()}.exe"
        # the comma at the end keeps apart what a browser adds to the name of a second download
        return f"rustdesk-{''.join(f'{name}={value},' for name, value in parts if value)}.exe"


def client_config(settings: Settings, identity: Identity, host: str) -> ClientConfig:
    """What clients of this server have to know when they reach it as `host`."""
    named = f"[{host}]" if ":" in host else host
    return ClientConfig(
        host=host if settings.port == _DEFAULT_PORT else f"{named}:{settings.port}",
        key=identity.public_key,
        relay="" if settings.relay_port == settings.port + 1 else f"{named}:{settings.relay_port}",
        api=_api(settings, named),
    )


def _api(settings: Settings, host: str) -> str:
    """Where the port `https` forwards API calls; it needs a name, which is on its certificate."""
    if not (settings.api_server and settings.https and settings.host):
        return ""
    return f"https://{host}" if settings.https == _HTTPS_PORT else f"https://{host}:{settings.https}"
