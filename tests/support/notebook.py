"""Notebooks of the documentation, run as their reader would."""

import contextlib
import io
import json
from pathlib import Path


def run_notebook(path: Path) -> str:
    """Run the code cells of a notebook in order, in one namespace, and return what they print."""
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), path.name, "exec"), names)
    return printed.getvalue()
