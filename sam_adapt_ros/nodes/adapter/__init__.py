"""The adapter node's parts: frame intake, training thread, requests, resource limits, state folder."""
