"""Figures of the queue for Prometheus, taken when they are asked for."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import State


class _Figures(Collector):
    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def collect(self) -> Iterator[Metric]:
        dispatcher = self._dispatcher
        jobs = GaugeMetricFamily("lits_jobs", "Jobs that are kept, by state.", labels=["state"])
        for state, count in dispatcher.store.counts().items():
            jobs.add_metric([state.value], count)
        yield jobs
        ended = CounterMetricFamily(
            "lits_jobs_ended", "Jobs that ended since the start, by state.", labels=["state"]
        )
        for state in (State.DONE, State.FAILED, State.CANCELLED):
            ended.add_metric([state.value], dispatcher.ended[state])
        yield ended
        waits = GaugeMetricFamily("lits_oldest_wait_seconds", "Age of the job that is next.")
        oldest = dispatcher.store.oldest()
        waits.add_metric([], 0.0 if oldest is None else max(0.0, time.time() - oldest))
        yield waits
        ready = GaugeMetricFamily("lits_device_ready", "Model open: 1.", labels=["device"])
        deaths = CounterMetricFamily(
            "lits_worker_deaths", "Worker processes that died.", labels=["device"]
        )
        for device_id, device in zip(
            dispatcher.settings.device_ids, dispatcher.devices, strict=True
        ):
            ready.add_metric([str(device_id)], float(device.is_ready))
            deaths.add_metric([str(device_id)], device.deaths)
        yield from (ready, deaths)
        series = GaugeMetricFamily(
            "lits_series", "Series that came in by DICOM and are kept, by state.", labels=["state"]
        )
        for name, count in dispatcher.store.database.counts("series").items():
            series.add_metric([name], count)
        sent = GaugeMetricFamily(
            "lits_deliveries", "Results on their way to peers, by state.", labels=["state"]
        )
        for name, count in dispatcher.store.database.counts("outbox").items():
            sent.add_metric([name], count)
        yield from (series, sent)
        free = GaugeMetricFamily("lits_disk_free_bytes", "Room on the disk of the state folder.")
        free.add_metric([], dispatcher.folder.free_bytes())
        yield free


class Metrics:
    """The text that a scrape gets."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(dispatcher))

    def text(self) -> bytes:
        """All figures as they are now."""
        return generate_latest(self._registry)
