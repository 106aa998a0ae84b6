"""The web process: sign-in, health, metrics, pages. It shows pseudonyms only to whoever has not signed in."""
