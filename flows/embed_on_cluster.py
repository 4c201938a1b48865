"""Pictures of a claims folder, embedded on the workers of a Dask cluster."""

from pathlib import Path
from typing import Any

from prefect import flow

from siamese.config import Settings
from siamese.errors import RunError
from tasks.spread import spread
from tasks.stage import Output


@flow(name="embed-on-cluster")
def embed_packets(settings: Settings, champion: Output, claims_dir: Path) -> int:
    """Fill the stores with what the claims need, by the flow's task runner."""
    return spread(settings, champion, claims_dir)


def embed_on_cluster(settings: Settings, champion: Output, claims_dir: Path) -> int:
    """The same by the workers of ``scoring.cluster``, which need no disk of ours."""
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RunError("scoring.cluster needs: pip install prefect-dask") from error
    runner: Any = DaskTaskRunner(address=settings.scoring.cluster)
    return embed_packets.with_options(task_runner=runner)(settings, champion, claims_dir)
