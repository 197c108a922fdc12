"""``twistd -ny rendezvous.tac``; settings come from .env and the environment, or from the list below."""

from twisted.application.service import Application

from rendezvous.tap import Options, makeService

options = Options()
options.parseOptions([])

application = Application("rendezvous")
makeService(options).setServiceParent(application)
