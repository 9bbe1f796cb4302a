"""Training and generation out of the Dagster process: a Pipes session around a supervised process group.

Dagster's own subprocess client signals the direct child alone; a DeepSpeed launch has grandchildren. Here cancellation ends the whole
group (skyreels_platform.processes), and what rank 0 reports through Pipes shows in the run's log.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg


class TrainerClient(dg.ConfigurableResource):
    """Gives a child process what it needs to report to the run that started it."""

    @contextmanager
    def session(self, context: dg.OpExecutionContext, extras: Mapping[str, object]) -> Iterator[dict[str, str]]:
        """Environment variables of a Pipes session; leaving the block collects what was reported."""
        with dg.open_pipes_session(
            context=context, context_injector=dg.PipesTempFileContextInjector(), message_reader=dg.PipesTempFileMessageReader(),
            extras=dict(extras),
        ) as session:  # fmt: skip
            yield session.get_bootstrap_env_vars()
