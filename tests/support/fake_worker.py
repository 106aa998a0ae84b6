"""A worker process with fake models: `python -m tests.support.fake_worker SECONDS_OF_A_PASS POLL_SECONDS`.

Every folder is that of a fake model of this name, 64 wide; the model of the settings is the usual one.
"""

import sys

from regionmir.core.logging import configure_logging
from regionmir.core.settings import load_settings
from regionmir.monitoring import monitored
from tests.support.fake_model import FakeModel
from workers.serve import serve_index

if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings, "index worker")
    pass_s, poll_s = map(float, sys.argv[1:])

    def load(name: str) -> FakeModel:
        return FakeModel(name=name, dim=64, pass_s=pass_s) if name else FakeModel(pass_s=pass_s)

    with monitored(settings, "index worker"):
        code = serve_index(settings, load, poll_s=poll_s)
    sys.exit(code)
