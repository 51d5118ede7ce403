"""One reading of a target for commands that print and end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cttui.client.link import Link
from cttui.client.targets import Target
from cttui.model.faults import FaultError

T = TypeVar("T")


def with_link(target: Target, work: Callable[[Link], Awaitable[T]]) -> T:
    """Open a probe on the target, do the work, end the probe. Raises FaultError."""

    async def run() -> T:
        link = await Link.open(target, read_only=True)
        try:
            return await work(link)
        finally:
            await link.close()

    return asyncio.run(run())


def need(link: Link, capability: str) -> None:
    """Raise FaultError with the probe's own reason when it can't do this here."""
    if capability not in link.welcome.can:
        why = link.welcome.cannot.get(capability, f"The probe has no {capability} here.")
        raise FaultError("no-privilege", why)
