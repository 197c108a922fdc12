"""Tests with real proxies in front: nginx, Caddy and HAProxy with the configurations of docs/proxies."""
