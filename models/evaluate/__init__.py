"""Judging a model: how well it finds regions, how well it finds similar ones, and what it refuses."""
