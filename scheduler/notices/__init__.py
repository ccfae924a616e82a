"""Notices of what happened -> the webhooks that are for them; in threads of its own, nothing waits for it."""
