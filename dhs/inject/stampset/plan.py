"""`plan_parts`: which rows of a manifest make up which part of the set."""

from dataclasses import dataclass

from dhs.inject.stampset.manifest_file import ManifestFile


@dataclass(frozen=True)
class PlannedPart:
    """A contiguous run of manifest rows of one split. Plain numbers: it travels to any engine."""

    number: int
    """Counts over the whole set."""
    split: str
    first_row: int
    n_rows: int

    @property
    def path(self) -> str:
        """Relative to the set."""
        return f"split={self.split}/{self.stem}.parquet"

    @property
    def ledger_path(self) -> str:
        return f"_ledger/{self.stem}.json"

    @property
    def stem(self) -> str:
        return f"part-{self.number:05d}"


def plan_parts(manifest: ManifestFile, *, rows_per_part: int) -> list[PlannedPart]:
    """All parts in the order of their rows; the last of each split may be shorter."""
    parts: list[PlannedPart] = []
    for split, first, n in manifest.split_runs():
        for start in range(first, first + n, rows_per_part):
            parts.append(PlannedPart(len(parts), split, start, min(rows_per_part, first + n - start)))
    return parts
