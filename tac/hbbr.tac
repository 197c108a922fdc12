"""``twistd -ny hbbr.tac``; settings come from .env and the environment, or from the list below."""

from twisted.application.service import Application

from rendezvous.tap import HbbrOptions, makeService

options = HbbrOptions()
options.parseOptions([])

application = Application("hbbr")
makeService(options).setServiceParent(application)
