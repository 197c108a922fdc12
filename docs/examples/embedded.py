"""An application that has an ID server and a relay in it, beside something of its own.

Run it with: python embedded.py DATA PORT
"""

import sys

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.wire import Echo

import rendezvous


def application(data: str, port: int) -> MultiService:
    """Everything that this application does."""
    services = MultiService()
    rendezvous.makeHbbs(data=data, port=port, max_peers=10_000).setServiceParent(services)
    rendezvous.makeHbbr(data=data, relay_port=port + 1, key="-", max_waiting=100).setServiceParent(services)
    echo = serverFromString(reactor, f"tcp:{port + 5}:interface=127.0.0.1")
    StreamServerEndpointService(echo, Factory.forProtocol(Echo)).setServiceParent(services)
    return services


def main() -> None:
    """Serves until it is told to end."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    services = application(sys.argv[1], int(sys.argv[2]))
    services.privilegedStartService()
    services.startService()
    reactor.addSystemEventTrigger("before", "shutdown", services.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
