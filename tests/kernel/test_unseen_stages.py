"""Stage counters on a host go by themselves when nobody looks, and a trace when the table is crowded."""

import pytest
import sandboxed

pytestmark = pytest.mark.kernel

WORKER = """
from cttui.probe import engine as e, switches
async def main():
    switches.UNSEEN_S = ARGS["unseen_s"]
    engine = e.Engine(sandbox=None, hello=Hello(PROTOCOL, "test"))
    await engine.start()
    await engine.switch(Arm(what="stages"))
    there = [sh("nft list tables").count("cttui_")]
    end = time.monotonic() + 20
    while engine.hooks.stages.armed and time.monotonic() < end:
        if ARGS["look"]:
            answer = await engine.answer(Ask(seq=1, hooks=HookView()))
            if time.monotonic() > end - 17:
                break
        await asyncio.sleep(0.05)
    there.append(sh("nft list tables").count("cttui_"))
    answer = await engine.answer(Ask(seq=2))
    report(there=there, notices=[n.sentence for n in answer.notices])
    await engine.stop()
asyncio.run(main())
"""


def test_unseen_counters_go() -> None:
    got = sandboxed.run(WORKER, unseen_s=0.2, look=False)
    assert got["there"] == [2, 0]
    assert any("nobody looked at the hooks" in sentence for sentence in got["notices"])


def test_counters_that_are_looked_at_stay() -> None:
    got = sandboxed.run(WORKER, unseen_s=1.0, look=True)
    assert got["there"] == [2, 2] and got["notices"] == []
