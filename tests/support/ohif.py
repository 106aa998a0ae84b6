"""The OHIF viewer for tests: installed once by its own command, and what its pages show."""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

import regionmir.core.ohif as installation
from regionmir.core.ohif import ohif_folder
from tests.conftest import absent

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

DATA_DIR = Path("build") / "viewer" / sha256(Path(installation.__file__).read_bytes()).hexdigest()[:8]
"""Another one where the way in which it is installed has changed."""
_VIEWPORT = "[data-cy=viewport-pane]"
_DEADLINE_S = 120
_ALIKE = 0.975
"""Films drawn from two seeds correlate by less than 0.96."""


def install_viewer(data_dir: Path) -> None:
    """Let a site with this data folder serve the viewer; npm fetches it the first time. Skips where it cannot."""
    if not ohif_folder(DATA_DIR).is_dir():
        if shutil.which("npm") is None:
            absent("npm, to install the OHIF viewer (apt-get install npm)")
        environment = {**os.environ, "REGIONMIR_DATA_DIR": str(DATA_DIR.absolute())}
        command = [sys.executable, "-m", "regionmir.admin", "ohif", "install"]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            absent(f"the OHIF viewer: {made.stdout}{made.stderr}")
    (data_dir / "ohif").symlink_to((DATA_DIR / "ohif").absolute())


def settled(page: "Page", *, tour: bool = True) -> None:
    """Wait for a viewport and close what the viewer shows to newcomers: that it is investigational, and a tour."""
    page.wait_for_selector(_VIEWPORT)
    if tour:
        page.get_by_text("Skip all").click()
    page.get_by_text("Confirm and hide").click()


def shows(page: "Page", number: int, values: npt.NDArray[np.float32]) -> bool:
    """Return whether viewport `number` shows a film of these display values (H, W), dark parts dark; waits for it."""
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        if _likeness(page.locator(_VIEWPORT).nth(number), values) > _ALIKE:
            return True
        page.wait_for_timeout(250)
    return False


def descriptions(page: "Page", count: int) -> list[str]:
    """Return the descriptions of hits in the list of studies, from the top, once there are `count`."""
    found = page.get_by_text(re.compile(r"^SIM \w{8} \w+ #\d{3}"))
    found.nth(count - 1).wait_for()
    return [text.strip() for text in found.all_inner_texts()]


def _likeness(viewport: "Locator", values: npt.NDArray[np.float32]) -> float:
    """Return how what is seen and a film that fills the viewport's height correlate, -1..1; 0 for a single colour."""
    with Image.open(io.BytesIO(viewport.screenshot())) as picture:
        seen = np.asarray(picture.convert("L"), np.float32)
    height, width = seen.shape
    half = min(round(height * values.shape[1] / values.shape[0]), width) // 2
    seen = seen[:, width // 2 - half : width // 2 + half]
    wanted = np.asarray(Image.fromarray(values).resize((seen.shape[1], seen.shape[0])), np.float32)
    if seen.std() == 0:
        return 0.0
    return float(np.corrcoef(seen.ravel(), wanted.ravel())[0, 1])
