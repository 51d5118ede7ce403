"""Which theme the program wears: at its start, and when another is chosen."""

import os
from typing import TYPE_CHECKING

from cttui.model.safe import clean
from cttui.ui import theme

if TYPE_CHECKING:
    from cttui.ui.program import Program


class Colours:
    """Registers themes with the application; a theme that is asked for and not there is said, not obeyed."""

    def __init__(self, app: "Program") -> None:
        self._app = app
        self._unknown = ""

    def first(self) -> str:
        """Register the theme that is wanted, as few others as that takes, and name the one to begin with."""
        options, remembered = self._app.options, self._app.memory.theme
        wanted = options.theme
        if wanted == "auto":
            wanted = options.config.unless(remembered, "theme")
        if os.environ.get("NO_COLOR") or wanted == "auto":
            wanted = theme.default_name()
        themes, _ = theme.load_themes(only=wanted)
        if wanted not in {one.name for one in themes}:
            # A file may call itself something else; what is wrong with any of them is said later.
            themes, _ = theme.load_themes()
        known = {one.name for one in themes}
        if wanted not in known:
            if wanted != remembered:
                self._unknown = wanted
            wanted = theme.default_name() if theme.default_name() in known else next(iter(known))
        for one in themes:
            self._app.register_theme(one)
        return wanted

    def others(self) -> None:
        """Register the rest, and say what is wrong with any of them."""
        themes, problems = theme.load_themes()
        for one in themes:
            if one.name != self._app.theme:
                self._app.register_theme(one)
        if self._unknown:
            known = ", ".join(sorted(one.name for one in themes))
            self._app.say(f"There is no theme {clean(self._unknown)}; known: {known}.", "warning")
        for notice in theme.notices(problems):
            self._app.say(notice, "warning")

    async def choose(self) -> None:
        """Choose another one, and remember it."""
        from cttui.ui.dialogs import Choose, Entry

        app = self._app
        ours = [t for t in app.available_themes.values() if not t.name.startswith("textual")]
        names = {t.name for t in theme.load_themes()[0]}
        entries = [
            Entry(t.name, t.name, f"on a {'dark' if t.dark else 'light'} ground")
            for t in sorted(ours, key=lambda t: t.name)
            if t.name in names
        ]
        chosen = await app.push_screen_wait(Choose("Colours", entries, app.theme))
        if chosen is not None:
            app.theme = app.memory.theme = chosen
            app.save_memory()
