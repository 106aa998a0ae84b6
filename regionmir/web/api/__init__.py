"""The JSON API for programs, at /api/v1: every query is a `RegionQuery`, answered by the engine that answers C-FIND."""
