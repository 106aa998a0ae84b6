"""Structured logs: JSON lines, or colours on a terminal.

No PHI is ever passed to a logger; what a library or an exception brings along is scrubbed from every line.
"""

import logging
import sys

import structlog

from regionmir.core.scrubbing import scrub
from regionmir.core.settings import Settings

_PACKAGES = ("regionmir", "dicom_node", "workers", "db", "models")


def configure_logging(settings: Settings, process: str) -> None:
    """Set up structlog and the standard library's logging for one process, both to stderr."""
    as_json = settings.log_json if settings.log_json is not None else not sys.stderr.isatty()
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            scrub,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(max(level, logging.WARNING))
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(level)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it quotes odd values, which may be a patient's
    structlog.contextvars.bind_contextvars(process=process)
