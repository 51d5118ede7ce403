"""What a fill needs a person for: much memory, or a limit of the host's that is too high to be filled.

Nothing of it is done unasked: without a yes the fill stays refused.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cttui.client.recording import AnyLink
from cttui.model.actions import Set
from cttui.model.faults import Fault, FaultError
from cttui.model.messages import Ask
from cttui.model.safe import clean

LIMIT = "nf_conntrack_max"


@dataclass(frozen=True, slots=True)
class Question:
    """A title, paragraphs, and what a yes does, in a word or two. `of_host`: it changes more than the sandbox."""

    title: str
    paragraphs: tuple[str, ...]
    yes: str
    of_host: bool = False


class Permission:
    """Asks for what a refused fill needs. `host` is a link to this machine's own namespace, opened when needed.

    A lowered limit is guarded by that link's probe: it goes back when the link is closed, however that comes.
    """

    def __init__(
        self, ask: Callable[[Question], Awaitable[bool]], host: Callable[[], Awaitable[AnyLink]]
    ) -> None:
        self._ask, self._host = ask, host
        self.lowered = ""
        """What was changed on the host, and until when, in a sentence."""

    async def __call__(self, fault: Fault) -> bool:
        """Whether the fill may be tried again, confirmed. Raises FaultError where the host refuses."""
        if fault.code == "fill-confirm":
            return await self._ask(
                Question(
                    "Fill the table?",
                    (
                        clean(fault.sentence),
                        "Hash table and garbage collector are shared: lookups in other namespaces get slower "
                        "while it lasts. The entries are gone when the sandbox is.",
                    ),
                    "fill",
                )
            )
        return fault.limit > 0 and await self._lower(fault)

    async def _lower(self, fault: Fault) -> bool:
        try:
            link = await self._host()
            answer = await link.ask(Ask(seq=link.next_seq(), tunables=True))
        except FaultError:
            return False  # no probe there: what to do by hand stands in the fault
        found = next((t for t in answer.tunables or [] if t.name == LIMIT), None)
        if found is None or not found.writable:
            return False
        old = int(found.value)
        before = f"{old:,}" if old else "0 (unlimited)"
        question = Question(
            "Lower the host's limit?",
            (
                clean(fault.sentence),
                f"{LIMIT}  {before}  →  {fault.limit:,}",
                "Affects every network namespace of this machine, containers too: one that holds more gets no new "
                f"connections meanwhile. The host's own holds {answer.table.count or 0:,}; others can't be seen "
                "from here.",
                "It goes back by itself when this program ends in any way.",
            ),
            "lower it",
            of_host=True,
        )
        if not await self._ask(question):
            return False
        write = Set(name=LIMIT, value=str(fault.limit), expected_old=found.value, keep_s=0)
        await link.finish((await link.do(write)).job)
        self.lowered = f"The host's {LIMIT} is {fault.limit:,} instead of {before} until this program ends."
        return True
