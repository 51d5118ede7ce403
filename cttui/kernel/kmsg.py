"""The kernel log since a mark, from /dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""

import os
import re


class KernelLog:
    """Kernel log lines that concern connection tracking. Unreadable for most ordinary users: then `why`.

    The kernel limits the rate of "table full": a missing line is no evidence that nothing was lost.
    """

    def __init__(self) -> None:
        self._fd = -1
        self.why = ""
        try:
            self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)  # from here on
        except OSError as e:
            self.why = f"The kernel log can't be read: {os.strerror(e.errno or 0)}."
            self.close()

    @property
    def readable(self) -> bool:
        """Whether lines can be had."""
        return self._fd >= 0

    def mark(self) -> None:
        """Forget what has been logged until now."""
        if self._fd >= 0:
            os.lseek(self._fd, 0, os.SEEK_END)

    def since_mark(self, netns: int, limit: int = 200) -> list[str] | None:
        """Lines since the mark that name conntrack or this namespace's inode; None where unreadable.

        Lines that name another namespace's table ("table full in netns N") are not ours. Moves the mark.
        """
        if self._fd < 0:
            return None
        out: list[str] = []
        while len(out) < limit:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:  # overwritten meanwhile: the next read starts at the oldest there is
                continue
            except OSError:
                return None
            text = message(record)
            if text is not None and concerns(text, netns):
                out.append(text)
        return out

    def close(self) -> None:
        """Release the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def message(record: bytes) -> str | None:
    """The text of one record `priority,sequence,time,flags;text\\n key=value…`, None for another layout.

    Control characters stay escaped (\\x1b) as the kernel wrote them.
    """
    head, separator, rest = record.partition(b";")
    if not separator or head.count(b",") < 3:
        return None
    return rest.split(b"\n", 1)[0].decode("utf-8", "replace")


def concerns(text: str, netns: int) -> bool:
    """Whether a line is about conntrack in this namespace."""
    named = re.search(r"\bnetns (\d+)", text)
    if named:
        return int(named[1]) == netns
    return "nf_conntrack" in text or "nf_ct_" in text
