"""Pseudonymous copies: instances de-identified by PS3.15 Annex E, for those who may not see who the patient is."""
