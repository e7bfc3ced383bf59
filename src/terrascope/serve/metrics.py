"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"terrascope_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(f"terrascope_{name}", what, registry=registry)

        def seconds(name: str, what: str) -> Histogram:
            return Histogram(f"terrascope_{name}_seconds", what, buckets=_SECONDS, registry=registry)

        self.requests = counter("requests", "Requests by route and status.", "method", "route", "status")
        self.refused = counter("refused", "Requests refused, by code.", "code")
        self.questions = counter("questions", "Questions by how they ended.", "outcome")
        self.queue_seconds = seconds("queue", "From the question to its turn.")
        self.first_text_seconds = seconds("first_text", "From a question's turn to its first text.")
        self.answer_seconds = seconds("answer", "From a question's turn to its answer.")
        self.queued = gauge("queued", "Questions that wait.")
        self.running = gauge("running", "Questions that are being answered.")
        self.tokens = counter("tokens", "Tokens written.")
        self.masks = counter("masks", "Masks drawn.")
        self.uploaded_bytes = counter("uploaded_bytes", "Bytes of request bodies taken.")
        self.scenes = counter("scenes", "Scenes of questions, by whether they were read or remembered.", "origin")
        self.remembered_bytes = gauge("remembered_bytes", "Bytes that remembered scenes take in memory.")
        self.kept_answers = gauge("kept_answers", "Answers that can be fetched.")
        self.kept_bytes = gauge("kept_bytes", "Bytes that kept answers take.")

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self.registry)
