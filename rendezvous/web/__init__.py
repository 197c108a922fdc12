"""One port for clients behind firewalls and for browsers: WebSocket, API calls, certificates' challenges."""
