"""Which settings may be written where. Nothing here is written: every value is the one that is there."""

from types import SimpleNamespace
from typing import Any

import pytest

from cttui.kernel import sysctl
from cttui.model.actions import Set
from cttui.model.faults import FaultError
from cttui.probe import settings


def sandbox() -> Any:
    return SimpleNamespace(sandbox=object())


@pytest.mark.parametrize("name", ["kernel/printk", "kernel.printk", "vm.swappiness", "net/../kernel/printk"])
async def test_a_sandbox_writes_no_setting_of_the_machine(name: str) -> None:
    """Root has no user namespace there: the kernel would let it."""
    now = sysctl.read(name) if ".." not in name else ""
    with pytest.raises(FaultError) as refused:
        await settings.write(sandbox(), Set(name=name, value=now, expected_old=now))
    assert refused.value.fault.code == ("bad-sysctl" if ".." in name else "machine-wide")


async def test_a_value_that_has_changed_is_not_written() -> None:
    with pytest.raises(FaultError, match="no longer 7"):
        await settings.write(sandbox(), Set(name="net/ipv4/ip_forward", value="0", expected_old="7"))
