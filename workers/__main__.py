"""`python -m workers index` and `python -m workers light`: the two kinds of worker process."""

import sys

from regionmir.core.errors import RegionMirError
from regionmir.core.logging import configure_logging
from regionmir.core.settings import Settings, load_settings
from regionmir.monitoring import monitored
from regionmir.sandbox import limit_decoding
from workers.serve import serve_index, serve_light


def main(arguments: list[str]) -> int:
    """Run one worker until SIGTERM and return its exit code: 2 with one line on stderr if it cannot start."""
    if arguments not in (["index"], ["light"]):
        print("usage: python -m workers index|light", file=sys.stderr)
        return 2
    role = arguments[0]
    try:
        settings = load_settings()
        configure_logging(settings, f"{role} worker")
        limit_decoding(settings)
        with monitored(settings, f"{role} worker"):
            return _serve(settings, role)
    except RegionMirError as error:
        print(f"regionmir {role} worker: {error}", file=sys.stderr)
        return 2


def _serve(settings: Settings, role: str) -> int:
    if role == "light":
        return serve_light(settings)
    from models.registry import load_model, location  # only this role loads torch

    threads = settings.torch_threads or None
    return serve_index(
        settings, lambda name: load_model(name or settings.model, threads=threads), location(settings.model)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
