"""A worker process with the fake model: `python -m tests.support.fake_worker SECONDS_OF_A_PASS POLL_SECONDS`."""

import sys

from regionmir.core.logging import configure_logging
from regionmir.core.settings import load_settings
from regionmir.monitoring import monitored
from tests.support.fake_model import FakeModel
from workers.serve import serve_index

if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings, "index worker")
    with monitored(settings, "index worker"):
        code = serve_index(settings, lambda: FakeModel(pass_s=float(sys.argv[1])), poll_s=float(sys.argv[2]))
    sys.exit(code)
