"""Notify: tell people how a flow ended, through a Prefect notification block of theirs."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from siamese.config import Settings
from siamese.loading import load_settings


def notify(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A hook of flows that end in a sentence: says it, or what failed.

    The block that ``schedule.notify`` names holds the address and its secrets, in Prefect. That
    nobody could be told is a warning, not a failure.
    """
    settings = Settings.model_validate(flow_run.parameters.get("settings") or load_settings())
    block = settings.schedule.notify
    if not block:
        return
    told = state.result(raise_on_failure=False) if state.is_completed() else state.message
    try:
        saved: Any = Block.load(block)
        saved.notify(f"{told} (flow run {flow_run.name})", f"{flow.name}: {state.name}")
    except Exception as error:  # a block is other people's code; the night's work is done
        log = flow_run_logger(flow_run, flow)
        log.warning(f"Nobody was told: the block {block} failed. {error}")
