"""What Prometheus sees. One registry a server, so that several servers in one process (the tests') stay apart."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_STAGES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.033, 0.05, 0.1, 0.133, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_OFFSETS_MS = (-200, -125, -80, -40, -20, -10, -5, 0, 5, 10, 20, 40, 45, 80, 200)


class Metrics:
    """Counters, gauges and histograms, all named ``chatanyone_…``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram("chatanyone_stage_seconds", "Time a stage took", ["stage"], buckets=_STAGES_S,
                                 registry=self.registry)
        self._events = Counter("chatanyone_events", "What happened", ["event"], registry=self.registry)
        self._rejects = Counter("chatanyone_rejects", "Requests refused", ["reason"], registry=self.registry)
        self._requests = Counter("chatanyone_requests", "Requests answered", ["method", "status"], registry=self.registry)
        self._sessions = Gauge("chatanyone_sessions", "Calls that run", registry=self.registry)
        self._watchers = Gauge("chatanyone_watchers", "Who looks at calls of others", registry=self.registry)
        self._waiting = Gauge("chatanyone_waiting", "Callers in the queue", registry=self.registry)
        self._ready = Gauge("chatanyone_ready", "1 when /healthz says so", registry=self.registry)
        self._numbers = Gauge("chatanyone_session", "Of the call measured last", ["number"], registry=self.registry)
        self._offset = Histogram("chatanyone_av_offset_milliseconds", "Pictures later than sound where they leave",
                                 buckets=_OFFSETS_MS, registry=self.registry)

    def observe(self, stage: str, seconds: float) -> None:
        """One run of a stage."""
        self._stages.labels(stage).observe(seconds)

    def observe_call(self, numbers: Mapping[str, float]) -> None:
        """A call's numbers, once a second: queue depths, underruns, drops, fps."""
        for name, value in numbers.items():
            self._numbers.labels(name).set(value)
        if "transport_av_offset_ms" in numbers:
            self._offset.observe(numbers["transport_av_offset_ms"])

    def count(self, event: str) -> None:
        """Something happened."""
        self._events.labels(event).inc()

    def reject(self, reason: str) -> None:
        """A request was refused: full, rate, token, origin, upload, draining."""
        self._rejects.labels(reason).inc()

    def answered(self, method: str, status: int) -> None:
        """A request was answered."""
        known = method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"  # or strangers make labels
        self._requests.labels(known, str(status)).inc()

    def census(self, sessions: int, watchers: int, waiting: int, ready: bool) -> None:
        """Who is there."""
        self._sessions.set(sessions)
        self._watchers.set(watchers)
        self._waiting.set(waiting)
        self._ready.set(ready)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
