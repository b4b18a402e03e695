"""`StampJob` says what a set is; a `RenderContext`, built once a process from it, makes any part of it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from dhs.config.root import InjectionRoot
from dhs.config.run_dir import versions
from dhs.config.stamps import StampsTask
from dhs.inject.build import build_painter
from dhs.inject.painter import Painter
from dhs.inject.stampset.manifest_file import ManifestFile, TargetRows
from dhs.inject.stampset.schema import SCHEMA_VERSION, part_schema, stamps_metadata

PHYSICS = ("max_galaxies", "sky", "source", "lens", "psf", "colour", "inject", "renderer")
"""Groups of the configuration that decide the pixels of a given recipe."""

FREE = {
    "sky": ("num_processes", "resident", "verify"),
    "source": ("storage", "build", "build_if_missing", "catalog_dir", "catalog_file", "files"),
}
"""Keys within them that do not."""

PLACES = ("bank",)
"""Keys of a source that say where it lies, not what it is."""

_FORMAT = ("rows_per_part", "row_group_size", "image_type", "compression", "compression_level", "measure", "quality")


@dataclass(frozen=True)
class StampJob:
    """What decides a stamp set. Picklable: engines send it to their processes."""

    config: InjectionRoot
    task: StampsTask
    manifest_sha256: str

    @cached_property
    def decides(self) -> dict[str, Any]:
        """As plain JSON: `job.json` of the set."""
        return {
            "schema_version": SCHEMA_VERSION,
            "manifest_sha256": self.manifest_sha256,
            "format": self.task.model_dump(mode="json", include=set(_FORMAT)),
            "missing": self.task.missing,
            "configuration": physics_of(self.config),
        }

    @cached_property
    def key(self) -> str:
        """Of what decides the set and where it goes."""
        text = json.dumps([self.decides, self.task.output, self.task.manifest], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class RenderContext:
    """Sky, sources, renderer and manifest of one process."""

    def __init__(self, job: StampJob, *, progress: Callable[[int, int], None] | None = None) -> None:
        self.job, self.task = job, job.task
        self.manifest = ManifestFile(job.task.manifest)
        self.painter: Painter = build_painter(job.config, progress=progress)
        self.targets = TargetRows(self.painter.cutouts)
        self.schema = self._schema()

    def _schema(self) -> pa.Schema:
        size_px = self.painter.cutouts.stamp_size_px
        provenance = {
            "manifest_sha256": self.job.manifest_sha256,
            "manifest": self.manifest.metadata,
            "configuration": self.job.decides["configuration"],
            "versions": package_versions(),
        }
        return part_schema(
            self.manifest.schema,
            size_px=size_px,
            image_type=self.task.image_type,
            measure=self.task.measure,
            metadata=stamps_metadata(size_px=size_px, provenance=provenance),
        )


_built: dict[str, RenderContext] = {}


def process_context(job: StampJob) -> RenderContext:
    """The context of ``job`` in this process, built when it is first asked for; one torch thread."""
    import torch

    if job.key not in _built:
        torch.set_num_threads(1)
        _built.clear()
        _built[job.key] = RenderContext(job)
    return _built[job.key]


def physics_of(config: InjectionRoot) -> dict[str, Any]:
    """The configuration that decides the pixels of a recipe, without what only says how fast or where."""
    plain = config.model_dump(mode="json", include=set(PHYSICS))
    for group, keys in FREE.items():
        _drop(plain[group], keys)
    return plain


def source_of(plain: Any) -> Any:
    """A source's configuration without files and storage: what must be equal for source_index to mean the same."""
    source = json.loads(json.dumps(plain))
    _drop(source, (*FREE["source"], *PLACES))
    return source


def package_versions() -> dict[str, Any]:
    """Of the packages that decide bits: no machine, no time, no state of a checkout."""
    return {name: value for name, value in versions()["packages"].items() if value is not None}


def _drop(node: Any, keys: tuple[str, ...]) -> None:
    """Remove ``keys`` from a group and from the components of a mixture."""
    for key in keys:
        node.pop(key, None)
    for component in node.get("components", {}).values():
        _drop(component["source"], keys)
