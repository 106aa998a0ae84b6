"""The web process: sign-in, health, metrics, pages, JSON API. It shows pseudonyms only to whoever is not identified."""
