"""A loopback HTTP server that imitates the Legacy Survey's cutout service, and its ways to fail."""

import io
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.io import fits

SIGMA_NMGY = (0.002, 0.0035, 0.008)


def sky_of(ra_deg: float, size_px: int) -> np.ndarray:
    """(3, size, size) float32: the noise that belongs to a position."""
    rng = np.random.default_rng(round(ra_deg * 1e5))
    sigma = np.array(SIGMA_NMGY, np.float32)[:, None, None]
    return (rng.standard_normal((3, size_px, size_px)) * sigma).astype(np.float32)


def fits_body(
    image: np.ndarray, *, ra_deg: float, dec_deg: float, bands: str = "grz", invvar: bool, scale: float = 0.262
) -> bytes:
    """A FITS file as the service writes it: planes, BANDS, SURVEY, WCS; INVVAR as an extension."""
    header = fits.Header()
    header["SURVEY"], header["BANDS"] = "LegacySurvey", bands
    for i, band in enumerate(bands):
        header[f"BAND{i}"] = band
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = ra_deg, dec_deg
    header["CRPIX1"] = header["CRPIX2"] = image.shape[-1] / 2 + 0.5
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -scale / 3600, 0.0, 0.0, scale / 3600
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU(image, header)]
    if invvar:
        sigma = np.array([SIGMA_NMGY["grz".index(band)] for band in bands], np.float32)[:, None, None]
        hdus.append(fits.ImageHDU(np.broadcast_to(sigma**-2, image.shape).copy(), header, name="INVVAR"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


class Service:
    """What the server has seen, and how it answers: ``plan[ra]`` lists the answers to come, the last for ever."""

    def __init__(self) -> None:
        self.plan: dict[str, list[str]] = defaultdict(lambda: ["good"])
        self.requests: list[dict[str, str]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.delay_s = 0.0
        self.gives_invvar = True
        self.lock = threading.Lock()
        self.url = ""

    def next_answer(self, ra: str) -> str:
        answers = self.plan[ra]
        return answers.pop(0) if len(answers) > 1 else answers[0]


class _Handler(BaseHTTPRequestHandler):
    service: Service

    def log_message(self, *args: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        service = self.service
        query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}
        with service.lock:
            service.requests.append(query)
            service.times.append(time.monotonic())
            service.at_once += 1
            service.most_at_once = max(service.most_at_once, service.at_once)
            answer = service.next_answer(query["ra"])
        try:
            time.sleep(service.delay_s)
            self._answer(answer, query)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up waiting
        finally:
            with service.lock:
                service.at_once -= 1

    def _answer(self, answer: str, query: dict[str, str]) -> None:
        ra, dec, size = float(query["ra"]), float(query["dec"]), int(query["size"])
        image = sky_of(ra, size)
        options = {"ra_deg": ra, "dec_deg": dec, "invvar": "invvar" in query and self.service.gives_invvar}
        if answer.isdigit() or answer.startswith("429"):
            status, _, wait = answer.partition(" ")
            self._send(int(status), b"busy", headers={"Retry-After": wait} if wait else {})
        elif answer == "html":
            self._send(200, b"<html><body>Please come back later</body></html>" * 100, kind="text/html")
        elif answer == "slow":
            time.sleep(0.6)
            self._send(200, fits_body(image, **options))
        elif answer == "cut":  # the connection ends before the announced length
            body = fits_body(image, **options)
            self._send(200, body[: len(body) // 2], length=len(body))
        elif answer == "short":  # the announced length is that of half a file
            body = fits_body(image, **options)
            self._send(200, body[: len(body) // 2 - 17])
        elif answer == "blocks":  # half a file in whole FITS blocks
            self._send(200, fits_body(image, **options)[: 2880 * 5])
        elif answer == "small":
            self._send(200, fits_body(image[:, 5:-5, 5:-5].copy(), **options))
        elif answer == "two bands":
            self._send(200, fits_body(image[:2].copy(), bands="gr", **options))
        elif answer == "zgr":
            self._send(200, fits_body(image[[2, 0, 1]].copy(), bands="zgr", **options))
        elif answer == "coarse":
            self._send(200, fits_body(image, scale=0.524, **options))
        elif answer == "elsewhere":
            self._send(200, fits_body(image, **{**options, "dec_deg": dec + 0.01}))
        elif answer == "zeros":
            self._send(200, fits_body(np.zeros_like(image), **options))
        elif answer == "nan":
            image[0, 10, 10] = np.nan
            self._send(200, fits_body(image, **options))
        else:
            assert answer == "good", answer
            self._send(200, fits_body(image, **options))

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        kind: str = "image/fits",
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(length or len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@contextmanager
def serving() -> Iterator[Service]:
    """A service on a free port of the loopback interface."""
    service = Service()
    handler = type("Handler", (_Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    service.url = f"http://127.0.0.1:{server.server_port}/viewer/fits-cutout"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
