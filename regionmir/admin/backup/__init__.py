"""Backups: made while everything runs, verified, and restored into an empty data folder."""
