"""Ray, for as long as it is needed: the cluster that `RAY_ADDRESS` names, else processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from terrascope.errors import SampleError


@contextmanager
def ray_session(num_workers: int) -> Iterator[Any]:
    """The module `ray`, connected; what was started for it ends with the block.

    Args:
        num_workers: processes on this machine at once; of a cluster, its own settings count.

    Raises:
        SampleError: Ray is not installed, or does not start.
    """
    # Read as it is imported. Counting users is not ours to decide.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise SampleError("--engine ray needs Ray; install it with: pip install 'terrascope-eo[ray]'") from None

    started = not ray.is_initialized()
    if started:
        on_cluster = "RAY_ADDRESS" in os.environ
        try:
            ray.init(
                num_cpus=None if on_cluster else num_workers,
                include_dashboard=None if on_cluster else False,
                log_to_driver=False,
                configure_logging=False,
            )
        except Exception as error:
            # Of many kinds, down to Exception itself.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            where = f"the cluster {os.environ['RAY_ADDRESS']}" if on_cluster else "this machine"
            raise SampleError(f"Ray did not start on {where}: {reason}") from error
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()
