"""``twistd -ny hbbs.tac``; settings come from .env and the environment, or from the list below."""

from twisted.application.service import Application

from rendezvous.tap import HbbsOptions, makeService

options = HbbsOptions()
options.parseOptions([])

application = Application("hbbs")
makeService(options).setServiceParent(application)
