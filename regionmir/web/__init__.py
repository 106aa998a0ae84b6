"""The web process: health, metrics, pages. It reads and writes nothing; without sign-in it shows pseudonyms only."""
