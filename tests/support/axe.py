"""The accessibility checker axe-core, as a package of PyPI brings it along."""

from importlib.resources import files


def axe_source() -> str:
    """Return the script that adds `axe` to a page."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
