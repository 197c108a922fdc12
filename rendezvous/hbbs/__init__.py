"""The ID/rendezvous server: service.py listens, dispatch.py tells what is spoken, wiring.py makes what does it."""
