"""The models of an index worker: that of the generation which searches use, and one of another while it is built."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from db import generations
from db.engine import Database
from regionmir.core.errors import ModelError
from regionmir.core.records import GenerationInfo
from workers.pipeline import Analyser

log = structlog.get_logger(__name__)

Load = Callable[[str], Analyser]
"""Loads a model by its folder or the name of a shipped one; empty: that of the settings."""


@dataclass(frozen=True, slots=True)
class InUse:
    """A loaded model and the number of its generation."""

    model_pk: int
    model: Analyser


class Models:
    """Loads models when they are needed and keeps two: the active one and one other. `configured`: of the settings."""

    def __init__(self, database: Database, load: Load, configured: str = "") -> None:
        self._database = database
        self._load = load
        self._configured = configured
        self._active: InUse | None = None
        self._other: InUse | None = None

    def start(self) -> None:
        """Load the active model. Where the settings name one that is not registered, it is built beside that.

        Raises `ModelError` where the active one cannot be loaded.
        """
        active = self.active()
        with self._database.session() as session:
            found = generations.active(session)
        if found is None or not self._configured or found.folder == self._configured:
            return
        info = self._load(self._configured).info
        with self._database.session() as session:
            known = {(one.info.weights_sha256, one.info.preprocessing_hash) for one in generations.listing(session)}
            if (info.weights_sha256, info.preprocessing_hash) not in known:
                number = generations.propose(session, info, self._configured)
                log.info("the model of the settings is built beside the active one", generation=number)
        log.info("searches use another model than the settings name", generation=active.model_pk)

    def active(self) -> InUse:
        """Return the model of the generation that searches use; the one of the settings is the first.

        Raises `ModelError` where it cannot be loaded, `DatabaseUnavailable`.
        """
        with self._database.session() as session:
            found = generations.active(session)
        if found is None:
            model = self._load("")
            with self._database.session() as session:
                generations.ensure_model(session, model.info, self._configured)
            return self.active()
        if self._active is None or self._active.model_pk != found.pk:
            self._active = self._loaded(found.pk, found.info, found.folder)
            log.info("model in use", generation=found.pk, name=found.info.name, version=found.info.version)
        return self._active

    def of(self, generation: generations.RegisteredModel) -> InUse:
        """Return the model of any generation. Raises `ModelError` where it cannot be loaded."""
        for kept in (self._active, self._other):
            if kept is not None and kept.model_pk == generation.pk:
                return kept
        self._other = self._loaded(generation.pk, generation.info, generation.folder)
        return self._other

    def _loaded(self, model_pk: int, info: GenerationInfo, folder: str) -> InUse:
        for kept in (self._active, self._other):
            if kept is not None and kept.model_pk == model_pk:
                return kept
        model = self._load(folder)
        if (model.info.weights_sha256, model.info.preprocessing_hash) != (info.weights_sha256, info.preprocessing_hash):
            where = folder or "the setting `model`"
            raise ModelError(f"generation {model_pk} ({info.name} {info.version}) is not the model of {where}")
        return InUse(model_pk, model)
