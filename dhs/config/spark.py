"""Schema of `engine=spark`: the parts of a stamp set on the executors of a Spark cluster (docs/spark.md)."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dhs.config.base import Section


def _flat(value: Any) -> Any:
    """{"spark": {"executor": {"memory": "4g"}}} -> {"spark.executor.memory": "4g"}: Hydra nests a key at its dots."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    for key, held in value.items():
        if isinstance(held, Mapping):
            flat |= {f"{key}.{rest}": each for rest, each in _flat(held).items()}
        else:
            flat[str(key)] = str(held).lower() if isinstance(held, bool) else held if held is None else str(held)
    return flat


MASTERS = r"local(-cluster)?(\[.*\])?|yarn|(k8s|spark)://.+"
"""What Spark takes; of anything else its gateway, where there is none yet, says only that it has exited."""

SparkConf = Annotated[dict[str, str], BeforeValidator(_flat)]


class SparkEngine(Section):
    """Executors of a Spark cluster, or of this machine."""

    name: Literal["spark"]
    master: str | None = Field(
        "local", description="yarn, k8s://..., spark://...; local: this machine; null: that of spark-submit"
    )
    cores: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="of master=local: tasks at once; null: one per core"
    )
    app_name: Annotated[str, Field(min_length=1)] = "dhs-stamps"
    partitions: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Spark tasks; null: one a part, so that a lost one costs no more than a part"
    )
    max_failures: Annotated[int, Field(ge=1, le=100)] = Field(4, description="tries of a task before the job stops")
    python: str | None = Field(
        None, description="Python of the executors; null: this one with a local master, else PYSPARK_PYTHON or python3"
    )
    py_files: tuple[str, ...] = Field((), description="zip, egg or py files for the executors' Python")
    archives: tuple[str, ...] = Field(
        (), description="unpacked beside each executor: environment.tar.gz#environment (venv-pack, conda-pack)"
    )
    conf: SparkConf = Field(
        {}, description="any other Spark setting: +engine.conf.spark.executor.memory=4g, or a mapping in YAML"
    )

    @model_validator(mode="after")
    def _spark_keys(self) -> "SparkEngine":
        for key in self.conf:
            if not key.startswith("spark."):
                raise ValueError(f"conf.{key}: Spark's settings begin with spark., as spark.executor.memory")
        if self.master is not None and not re.fullmatch(MASTERS, self.master):
            raise ValueError(f"master = {self.master}: must be local, local[N], yarn, k8s://..., spark://... or null")
        if self.cores is not None and self.master != "local":
            raise ValueError(
                f"cores = {self.cores}: are of master=local; a cluster's are +engine.conf.spark.executor.cores and "
                "+engine.conf.spark.executor.instances"
            )
        if "spark.master" in self.conf:
            raise ValueError("conf.spark.master: give engine.master")
        return self
