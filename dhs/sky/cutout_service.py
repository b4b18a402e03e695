"""Cutouts from the Legacy Survey's cutout service, politely: one request at a time per host, a pause between two.

`GET <url>?ra=&dec=&size=&layer=ls-dr10&pixscale=0.262&bands=grz[&invvar=]`. Several hosts share the work, each with
one thread. 429, 5xx, time-outs and answers that are no FITS are tried again after a pause that doubles, or as long as
Retry-After asks. Good answers are kept in a cache, so an interrupted job asks for nothing twice.

The service resamples its coadds so that the target lies at the stamp's centre: the noise is more correlated than a
brick's. Where it sends no inverse variances, they come from the stamp's outer ring (`invvar_source` = `border`), with 0
where a pixel is exactly zero: the service draws zeros where it has no data.
"""

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import numpy as np
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from dhs.config.cutouts import CutoutService
from dhs.constants import BANDS, PIXEL_SCALE_ARCSEC
from dhs.sky.fetched import Fetched, empty_fetched
from dhs.sky.file_lock import file_lock
from dhs.sky.ring_noise import ring_sigma
from dhs.sky.service_answer import Answer, ServiceFault, check_body, read_answer

USER_AGENT = "dark-halo-scope (cutouts for research; one request at a time)"


class ServiceClient:
    """Fetches cutouts of ``size_px`` from the configured hosts through a cache."""

    def __init__(self, config: CutoutService, *, size_px: int, cache_dir: Path) -> None:
        self._config, self._size, self._cache = config, size_px, cache_dir
        self._hosts = [_Host(url, config, lock=cache_dir / f"{urlsplit(url).netloc}.lock") for url in config.urls]

    def fetch(
        self, ra_deg: np.ndarray, dec_deg: np.ndarray, *, placed: np.ndarray, done: Callable[[], None]
    ) -> Fetched:
        """Cutouts of (n,) positions, ``placed`` False where there is none; ``done()`` after each.

        ValueError where a host failed ``give_up_after`` times in a row, or asks to wait longer than ``max_wait_s``.
        """
        fetched = empty_fetched(len(ra_deg), size_px=self._size, invvar_source="service")
        rows: queue.SimpleQueue[int] = queue.SimpleQueue()
        for row in range(len(ra_deg)):
            if placed[row]:
                rows.put(row)
            else:
                fetched.fail(row, "bad_position", f"RA {ra_deg[row]}, Dec {dec_deg[row]}")
                done()
        stop = threading.Event()

        def serve(host: "_Host") -> None:
            try:
                while not stop.is_set():
                    row = rows.get_nowait()
                    self._fill(fetched, row, host, float(ra_deg[row]), float(dec_deg[row]))
                    done()
            except queue.Empty:
                return
            except BaseException:
                stop.set()
                raise

        with ThreadPoolExecutor(len(self._hosts)) as pool:
            for future in [pool.submit(serve, host) for host in self._hosts]:
                future.result()
        return fetched

    def _fill(self, fetched: Fetched, row: int, host: "_Host", ra_deg: float, dec_deg: float) -> None:
        try:
            answer = self._answer(host, ra_deg, dec_deg)
        except ServiceFault as fault:
            fetched.fail(row, fault.reason, fault.detail)
            host.failed(fault)
            return
        host.in_a_row = 0
        fetched.images[row] = answer.image
        if answer.invvar is not None:
            fetched.invvar[row] = answer.invvar
        else:
            fetched.invvar[row] = border_invvar(answer.image)
            fetched.invvar_source[row] = "border"

    def _answer(self, host: "_Host", ra_deg: float, dec_deg: float) -> Answer:
        """From the cache, else from ``host``, trying again as the configuration says."""
        query = {
            "ra": f"{ra_deg:.7f}",
            "dec": f"{dec_deg:.7f}",
            "size": str(self._size),
            "layer": self._config.layer,
            "pixscale": str(PIXEL_SCALE_ARCSEC),
            "bands": "".join(BANDS),
            **({"invvar": ""} if self._config.invvar else {}),
        }
        key = hashlib.sha256(urlencode(query).encode()).hexdigest()[:24]
        path = self._cache / key[:2] / f"{key}.fits"

        def read(file: Path) -> Answer:
            return read_answer(file, ra_deg=ra_deg, dec_deg=dec_deg, size_px=self._size)

        if path.is_file():
            try:
                return read(path)
            except ServiceFault:
                path.unlink()  # damaged on disk: ask again

        def ask() -> Answer:
            body = host.get(query)
            temporary = path.with_name(f".{key}.{os.getpid()}.tmp.fits")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(body)
            try:
                answer = read(temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            return answer

        return Retrying(
            stop=stop_after_attempt(self._config.max_tries),
            retry=retry_if_exception(lambda error: isinstance(error, ServiceFault) and error.transient),
            wait=self._wait_s,
            reraise=True,
        )(ask)

    def _wait_s(self, state: RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome else None
        asked = fault.retry_after_s if isinstance(fault, ServiceFault) else 0.0
        return max(asked, min(self._config.backoff_s * 2.0 ** (state.attempt_number - 1), self._config.max_wait_s))


def border_invvar(image: np.ndarray) -> np.ndarray:
    """(B, H, W) inverse variance of an image without one: 1/sigma^2 of its outer ring, 0 where a pixel is exactly 0."""
    if not np.isfinite(image).all():
        return np.zeros_like(image)
    sigma = ring_sigma(image)
    invvar = np.divide(1.0, sigma**2, out=np.zeros_like(sigma), where=sigma > 0)
    return np.where(image != 0, invvar[:, None, None], 0.0).astype(np.float32)


class _Host:
    """One server: its pause between requests, its failures in a row. Used by one thread of one process at a time."""

    def __init__(self, url: str, config: CutoutService, *, lock: Path) -> None:
        self._url, self._config, self._lock = url, config, lock
        self._client = httpx.Client(timeout=config.timeout_s, follow_redirects=True, headers={"User-Agent": USER_AGENT})
        self._next = 0.0
        self.in_a_row = 0

    def get(self, query: dict[str, str]) -> bytes:
        """The body of a good answer; ServiceFault with its reason otherwise."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        with file_lock(self._lock, held_elsewhere=None):
            try:
                response = self._client.get(self._url, params=query)
            except httpx.TimeoutException as error:
                raise ServiceFault("timeout", type(error).__name__, transient=True) from None
            except httpx.RemoteProtocolError as error:  # the body ended before its announced length
                raise ServiceFault("truncated", str(error), transient=True) from None
            except httpx.HTTPError as error:
                raise ServiceFault("unreachable", f"{type(error).__name__}: {error}", transient=True) from None
            finally:
                self._next = time.monotonic() + self._config.min_interval_s
        self._check_status(response)
        check_body(response.content, content_type=response.headers.get("Content-Type", ""))
        return response.content

    def failed(self, fault: ServiceFault) -> None:
        """Count a cutout that could not be had; ValueError where it is the last straw."""
        self.in_a_row = self.in_a_row + 1 if fault.transient else 0
        if self.in_a_row >= self._config.give_up_after:
            raise ValueError(
                f"{urlsplit(self._url).netloc}: {self.in_a_row} cutouts in a row not given, last: {fault.reason} "
                f"({fault.detail}); what came is kept, run the same command later"
            )

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == httpx.codes.OK:
            return
        asked = _retry_after_s(response.headers.get("Retry-After", ""))
        if asked > self._config.max_wait_s:
            raise ValueError(
                f"{urlsplit(self._url).netloc}: status {status}, asks to wait {asked:.0f} s, more than "
                f"task.service.max_wait_s = {self._config.max_wait_s:g}; what came is kept, run the same command later"
            )
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise ServiceFault("rate_limited", "status 429", transient=True, retry_after_s=asked)
        if status >= 500:
            raise ServiceFault("server_error", f"status {status}", transient=True, retry_after_s=asked)
        raise ServiceFault("not_served", f"status {status}", transient=False)


def _retry_after_s(value: str) -> float:
    """Seconds of a Retry-After header: a number, or a date; 0 where it is neither."""
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
