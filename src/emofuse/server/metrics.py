"""What a server counts, in Prometheus' format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600, 3600)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("emofuse_requests", "Requests answered.", ["method", "route", "status"], registry=r)
        self.latency = Histogram(
            "emofuse_request_seconds", "Time from request to answer.", ["route"], buckets=SECONDS, registry=r
        )
        self.waiting = Gauge("emofuse_queue", "Requests inside: at work or waiting.", registry=r)
        self.refused = Counter("emofuse_refused", "Requests refused because the queue was full.", registry=r)
        self.audio = Counter("emofuse_audio_seconds", "Seconds of recordings that were judged.", registry=r)
        self.real_time = Histogram(
            "emofuse_real_time_factor",
            "Time from the end of the upload to the answer, over the recording's length.",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
            registry=r,
        )
        self.batch = Histogram(
            "emofuse_batch_utterances", "Utterances judged together.", buckets=(1, 2, 4, 8, 16), registry=r
        )
        self.crashes = Counter("emofuse_decoder_crashes", "Decoders that died.", registry=r)
        self.jobs = Gauge("emofuse_jobs", "Jobs by state.", ["state"], registry=r)
        self.live = Histogram(
            "emofuse_live_seconds",
            "Time from the end of a live utterance, as voice activity finds it, to its final prediction.",
            buckets=SECONDS[:8],
            registry=r,
        )
        self.streams = Gauge("emofuse_streams", "Live connections.", registry=r)

    def text(self) -> bytes:
        """All of them, as ``GET /metrics`` gives them."""
        return generate_latest(self.registry)
