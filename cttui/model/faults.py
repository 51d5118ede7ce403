"""What went wrong, in a sentence, and what to do about it in another."""

import msgspec


class Fault(msgspec.Struct, array_like=True, frozen=True, tag="fault"):
    """What went wrong in a sentence, and what to do about it in another. `code` is stable, for programs."""

    code: str
    sentence: str
    remedy: str = ""
    limit: int = 0
    """The nf_conntrack_max with which a refused fill would be possible; 0: none would help."""


class FaultError(Exception):
    """A Fault on its way up."""

    def __init__(self, code: str, sentence: str, remedy: str = "") -> None:
        super().__init__(sentence)
        self.fault = Fault(code, sentence, remedy)

    @classmethod
    def of(cls, fault: Fault) -> "FaultError":
        """To raise what somebody else has found, whole."""
        error = cls(fault.code, fault.sentence)
        error.fault = fault
        return error
