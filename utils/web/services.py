"""What a request needs beside the database: settings, stored pictures, the trained network."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from flask import current_app

from utils.errors import MarrowFindError
from utils.records.blobs import BlobStore
from utils.settings import Settings

if TYPE_CHECKING:
    from utils.networks.classifier import Classifier

EXTENSION = "marrow_find"


class Services:
    """The application's own long-lived things, one set in each worker.

    Attributes
    ----------
    settings : Settings
    blobs : BlobStore
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.blobs = BlobStore(settings.blobs_dir, lowest_free_bytes=settings.lowest_free_bytes)
        self._classifier: Classifier | None = None
        self._loading = threading.Lock()

    @property
    def classifier(self) -> Classifier:
        """The network that reads fields, loaded on first use and kept.

        Raises
        ------
        NetworkUnavailable, NetworkCorrupt
            Until it is installed and whole; then the next use finds it.
        """
        if self._classifier is None:
            # The engine costs 0.1 s to import; the commands for accounts do not pay it.
            from utils.networks.registry import load_classifier

            with self._loading:
                if self._classifier is None:
                    self._classifier = load_classifier(
                        self.settings.models_dir,
                        self.settings.field_network,
                        threads=self.settings.engine_threads,
                    )
        return self._classifier

    def warm_up(self) -> None:
        """Do what is slow only once before the first request comes.

        A missing or damaged network does not stop the start: `/health` and each upload say so.
        """
        self.blobs.sweep()
        try:
            self.classifier.warm_up()
        except MarrowFindError as error:
            current_app.logger.warning("no network is serving: %s", error.code)
        from utils.tutor.retrieval import shipped_index

        try:
            shipped_index()
        except MarrowFindError as error:
            current_app.logger.error("the tutor does not answer: %s", error.message)


def services() -> Services:
    """Give the services of the current application."""
    return cast(Services, current_app.extensions[EXTENSION])
