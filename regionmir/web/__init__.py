"""The web process: health, metrics, pages, JSON API. Without a token it shows pseudonyms only; pages write nothing."""
