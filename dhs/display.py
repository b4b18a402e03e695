"""Stamps as an astronomer wants to see them: colour composites and contact sheets.

Why here: the stream, the trainer, the report and the README all show stamps, and they must show them with one
stretch, or an arc that is invisible in one place shines in another. No pyplot: figures are objects, so nothing
is global and nothing leaks.

    contact_sheet(stamps_nmgy, captions=names, path=Path("sheet.png"), columns=8, title="Training batch")
    comparison_sheet({"before": a, "arc only": b, "after": c}, captions=names, path=Path("arcs.png"), ...)
    stacked_sheets([Sheet({"": a}, names, "first"), Sheet({"": b}, other_names, "second")], path=..., columns=8)
"""

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

VIEWER_SCALES = (6.0, 3.4, 2.2)
"""Factors of g, r, z in nMgy/pixel: the Legacy Survey viewer's `dr2_rgb` (legacysurvey/imagine, map/views.py)."""

VIEWER_OFFSET = 0.03
"""Added after scaling, so that sky is dark grey and not clipped at zero (same source)."""

VIEWER_Q = 20.0
"""Softening Q of the asinh stretch, Lupton+2004 (PASP 116 133) eq. 2 (same source)."""

SHEET_DPI = 100
"""Dots per inch of a contact sheet: stamps are placed on whole pixels of it."""

PAPER, INK, MUTED = "#ffffff", "#1a1a1a", "#666666"


def rgb(images_nmgy: np.ndarray) -> np.ndarray:
    """Colour composite as in the Legacy Survey viewer: z red, r green, g blue, asinh stretch of the mean.

    ``images_nmgy`` is (B, 3, H, W) in nMgy per 0.262" pixel, bands g, r, z; returns (B, H, W, 3) uint8 with the
    same row order (row 0 is the bottom of the sky image). A pixel without a finite value is black.
    """
    if images_nmgy.ndim != 4 or images_nmgy.shape[1] != 3:
        raise ValueError(f"images_nmgy has shape {images_nmgy.shape}: must be (B, 3, H, W) in g, r, z")
    scaled = images_nmgy.astype(np.float64) * np.reshape(VIEWER_SCALES, (1, 3, 1, 1)) + VIEWER_OFFSET
    intensity = np.maximum(scaled, 0.0).mean(axis=1, keepdims=True)
    stretched = np.arcsinh(VIEWER_Q * intensity) / np.sqrt(VIEWER_Q)
    gain = np.divide(stretched, intensity, out=np.zeros_like(intensity), where=intensity > 0)
    colour = np.nan_to_num(np.clip(scaled * gain, 0.0, 1.0), nan=0.0)
    return np.rint(255 * colour[:, ::-1]).astype(np.uint8).transpose(0, 2, 3, 1)


def stamp_png(image_nmgy: np.ndarray) -> bytes:
    """PNG of one (3, H, W) stamp as `rgb` shows it, row 0 at the bottom."""
    buffer = io.BytesIO()
    # imsave wants C order, and a flipped view is not
    picture = np.ascontiguousarray(np.flip(rgb(image_nmgy[None])[0], axis=0))
    matplotlib.image.imsave(buffer, picture, format="png", metadata={"Software": "dhs"})
    return buffer.getvalue()


def contact_sheet(
    images_nmgy: np.ndarray, *, captions: Sequence[str], path: Path, columns: int, title: str, zoom: int = 2
) -> Path:
    """Write (N, 3, H, W) stamps as a PNG, ``columns`` a row, a caption (lines split by newline) under each."""
    return comparison_sheet({"": images_nmgy}, captions=captions, path=path, columns=columns, title=title, zoom=zoom)


def comparison_sheet(
    groups: Mapping[str, np.ndarray],
    *,
    captions: Sequence[str],
    path: Path,
    columns: int,
    title: str,
    zoom: int = 2,
) -> Path:
    """Write groups of the same N stamps under one another: a row per group, its name at the left.

    Every group is (N, 3, H, W) in nMgy and goes through the same stretch, so arcs compare. ``columns`` stamps
    a block; blocks follow each other downwards. Raises ValueError when counts or shapes differ.
    """
    figure = _sheet_figure(Sheet(groups, captions, title), columns=columns, zoom=zoom)
    save_png(figure, path=path, dpi=SHEET_DPI)
    return path


@dataclass(frozen=True)
class Sheet:
    """N stamps to draw: ``groups`` as for `comparison_sheet`; (N, H, W, 3) uint8 is drawn as it is."""

    groups: Mapping[str, np.ndarray]
    captions: Sequence[str]
    title: str


def stacked_sheets(sheets: Sequence[Sheet], *, path: Path, columns: int, zoom: int = 2) -> Path:
    """Write one PNG with ``sheets`` under one another, each with its own title."""
    pixels = [_figure_pixels(_sheet_figure(sheet, columns=columns, zoom=zoom)) for sheet in sheets]
    width = max(array.shape[1] for array in pixels)
    padded = [np.pad(array, ((0, 0), (0, width - array.shape[1]), (0, 0)), constant_values=255) for array in pixels]
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.concatenate(padded), format="png", metadata={"Software": "dhs"})
    write_atomically(path, buffer.getvalue())
    return path


def _figure_pixels(figure: Figure) -> np.ndarray:
    """(H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _sheet_figure(sheet: Sheet, *, columns: int, zoom: int) -> Figure:
    groups, captions = sheet.groups, sheet.captions
    composites = [np.flip(images if images.dtype == np.uint8 else rgb(images), axis=1) for images in groups.values()]
    shapes = {composite.shape for composite in composites}
    if len(shapes) != 1 or len(captions) != len(composites[0]):
        raise ValueError(
            f"groups have shapes {sorted(shapes)} and there are {len(captions)} captions: "
            "every group needs the same stamps, one caption each"
        )
    layout = _Layout.of(
        composites[0], captions=captions, columns=columns, zoom=zoom, names=list(groups), title=sheet.title
    )
    figure = layout.figure(sheet.title)
    for row, (name, composite) in enumerate(zip(groups, composites, strict=True)):
        layout.draw_group(figure, row=row, name=name, composite=composite)
    layout.draw_captions(figure, captions)
    return figure


@dataclass(frozen=True)
class _Layout:
    """Pixel positions of a sheet, counted from its lower left corner."""

    n: int
    stamp_px: int
    zoom: int
    columns: int
    n_rows: int
    gutter_px: int
    left_px: int
    caption_px: int
    caption_size_pt: float
    title_px: int

    @classmethod
    def of(
        cls, composite: np.ndarray, *, captions: Sequence[str], columns: int, zoom: int, names: list[str], title: str
    ) -> "_Layout":
        lines = [line for caption in captions for line in caption.split("\n")]
        side = composite.shape[1] * zoom
        # DejaVu Sans averages 0.6 em a character; 1 pt is dpi / 72 pixels
        widest_pt = side / max(1, max((len(line) for line in lines), default=1)) / 0.6 * 72 / SHEET_DPI
        size = float(np.clip(widest_pt, 5.5, 8.5))
        n_lines = max((caption.count("\n") + 1 for caption in captions if caption), default=0)
        return cls(
            n=len(composite),
            stamp_px=side,
            zoom=zoom,
            columns=min(columns, len(composite)),
            n_rows=len(names),
            gutter_px=6,
            left_px=26 if any(names) else 8,
            caption_px=round(n_lines * size * 1.4 * SHEET_DPI / 72) + 6,
            caption_size_pt=size,
            title_px=34 if title else 8,
        )

    @property
    def block_px(self) -> int:
        return self.n_rows * (self.stamp_px + 2) + self.caption_px + self.gutter_px

    @property
    def width_px(self) -> int:
        return self.left_px + self.columns * (self.stamp_px + self.gutter_px) + 2

    @property
    def height_px(self) -> int:
        return self.title_px + -(-self.n // self.columns) * self.block_px + 4

    def corner(self, index: int, *, row: int) -> tuple[int, int]:
        """Lower left pixel of stamp ``index`` in group ``row``."""
        block, column = divmod(index, self.columns)
        top = self.height_px - self.title_px - block * self.block_px - row * (self.stamp_px + 2)
        return self.left_px + column * (self.stamp_px + self.gutter_px), top - self.stamp_px

    def figure(self, title: str) -> Figure:
        figure = Figure(figsize=(self.width_px / SHEET_DPI, self.height_px / SHEET_DPI), dpi=SHEET_DPI, facecolor=PAPER)
        if title:
            figure.text(8 / self.width_px, 1 - 22 / self.height_px, title, size=11, weight="bold", color=INK)
        return figure

    def draw_group(self, figure: Figure, *, row: int, name: str, composite: np.ndarray) -> None:
        zoomed = composite.repeat(self.zoom, axis=1).repeat(self.zoom, axis=2)
        for index in range(self.n):
            x, y = self.corner(index, row=row)
            figure.figimage(zoomed[index], xo=x, yo=y, origin="upper")
        for first in range(0, self.n, self.columns):
            x, y = self.corner(first, row=row)
            centre = (y + self.stamp_px / 2) / self.height_px
            figure.text(
                (x - 7) / self.width_px, centre, name, size=8.5, rotation=90, ha="right", va="center", color=INK
            )

    def draw_captions(self, figure: Figure, captions: Sequence[str]) -> None:
        for index, caption in enumerate(captions):
            x, y = self.corner(index, row=self.n_rows - 1)
            figure.text(
                x / self.width_px,
                (y - 4) / self.height_px,
                caption,
                size=self.caption_size_pt,
                va="top",
                linespacing=1.25,
                color=INK,
            )


def save_png(figure: Figure, *, path: Path, dpi: int) -> None:
    """Write ``figure`` as a PNG, atomically."""
    write_atomically(path, figure_png(figure, dpi=dpi))


def figure_png(figure: Figure, *, dpi: int) -> bytes:
    """``figure`` as the bytes of a PNG, without a creation date or version, so equal input gives equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path``, fsync, rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private to its owner
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
