"""Sensors: ends training processes whose run is over."""

from pathlib import Path

import dagster as dg

from resources.home import HomeResource


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING,
           description="Ends process groups of training runs that no supervisor watches any more.")  # fmt: skip
def orphan_reaper(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SkipReason:
    """A supervisor ends its group when its parent dies; this catches the case in which the supervisor was killed too."""
    from skyreels_platform.processes import reap_orphans

    ended = reap_orphans(Path(home.open().work))
    return dg.SkipReason(f"ended {len(ended)} orphaned process groups: {ended}" if ended else "no orphaned process group")
