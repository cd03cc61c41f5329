"""What a server counts, for Prometheus. No text, no key and no address is ever a label."""

from __future__ import annotations

from collections.abc import Callable, Container

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Of one server.

    Args:
        routes: paths that there are; all others are counted as one, or a stranger could fill the
            memory with names.
        waiting: tells how many texts wait.
    """

    def __init__(self, routes: Container[str], waiting: Callable[[], int]) -> None:
        self._routes = routes
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "jumok_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "jumok_request_seconds",
            "From a request's head to its answer's end",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "jumok_batch_texts", "Texts answered together", buckets=_TEXTS, registry=registry
        )
        Gauge(
            "jumok_waiting_texts", "Texts that wait for their turn", registry=registry
        ).set_function(waiting)

    def request(self, path: str, status: int, seconds: float) -> None:
        """One was answered."""
        route = path if path in self._routes else "other"
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, texts: int) -> None:
        """One was begun."""
        self._batch.observe(texts)

    def render(self) -> tuple[bytes, str]:
        """Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
