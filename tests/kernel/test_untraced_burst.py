"""A burst goes into the sandbox where it can't be traced, and that is said."""

import pytest
import sandboxed

pytestmark = pytest.mark.kernel

WORKER = """
from cttui.lab.compose import compile
from cttui.probe.engine import Engine
async def main(box):
    engine = Engine(sandbox=box, hello=Hello(PROTOCOL, "test"))
    await engine.start()
    if ARGS["taken"]:
        sh(f"nft add table inet cttui_trace_{os.getpid()}")  # its name is taken: arming fails
    line = 'IP(src="198.51.100.2",dst="192.0.2.1")/TCP(sport=(10000,10009),dport=80,flags="S")'
    job = await engine.do(Fire(templates=compile(line, 10), count=10))
    while True:
        answer = await engine.answer(Ask(seq=1, journey=JourneyView(count=0)))
        (found,) = [j for j in answer.jobs if j.id == job]
        if found.state != "running":
            break
        await asyncio.sleep(0.02)
    report(state=found.state, sent=found.result.sent, new=found.result.new, ends=answer.journeys.ends,
           notices=[n.sentence for n in answer.notices])
    await engine.stop()
asyncio.run(main(open_sandbox()))
"""


@pytest.mark.parametrize("taken", [True, False])
def test_a_burst_that_cannot_be_traced_is_fired(taken: bool) -> None:
    got = sandboxed.run(WORKER, taken=taken)
    assert (got["state"], got["sent"], got["new"]) == ("done", 10, 10)
    assert got["ends"] == ([] if taken else [["delivered", 10]])
    assert got["notices"] == (["The burst was not traced: File exists."] if taken else [])
