"""The web process: health, metrics, pages. Without sign-in it shows pseudonyms only and changes nothing."""
