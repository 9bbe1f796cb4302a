"""Training and generation out of the Dagster process: a Pipes session around a supervised process group.

Dagster's own subprocess client signals the direct child alone, but a DeepSpeed launch has grandchildren. Here cancellation ends the
whole group (skyreels_platform.processes), and what rank 0 reports through Pipes shows in the run's log.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg


class TrainerClient(dg.ConfigurableResource):
    """Lets a child process report to the run that started it."""

    @contextmanager
    def session(self, context: dg.OpExecutionContext, extras: Mapping[str, object]) -> Iterator[dg.PipesSession]:
        """A Pipes session over temporary files; `get_bootstrap_env_vars()` is the child's environment."""
        with dg.open_pipes_session(
            context=context, context_injector=dg.PipesTempFileContextInjector(), message_reader=dg.PipesTempFileMessageReader(),
            extras=dict(extras),
        ) as session:  # fmt: skip
            yield session
