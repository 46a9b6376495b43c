"""Monitoring after a deployment (rollback) and of the domain (drift)."""
