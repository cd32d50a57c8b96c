"""Trained agents that come with the library: signed, with their weights, and a card of what each can do."""
