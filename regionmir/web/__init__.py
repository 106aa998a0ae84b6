"""The web process: health, metrics, pages, DICOMweb. Without sign-in it shows pseudonyms only."""
