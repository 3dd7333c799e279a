"""How far a job is, by what it prints: bars (tqdm and the like), "epoch k/n", "step k/n", "[k/n]".

A bar or a step within "epoch k/n" is a part of that epoch. What is printed is written for people and says little for
certain: whatever does not fit is ignored, and a bar that begins anew is no sign of how far the whole is (see `Track`).
"""

from __future__ import annotations

import re

import msgspec

LONGEST = 500
"""Characters of a line that are looked at: its end, where the current state of a bar is."""

_NUMBERS = r"(\d{1,9})\s*(?:/|of)\s*(\d{1,9})(?![\d/.])"
_EPOCH = re.compile(rf"\bepochs?\b[\s:=#\[(]{{0,4}}{_NUMBERS}", re.IGNORECASE)
_STEP = re.compile(rf"\b(?:steps?|iter(?:ation)?s?|batch(?:es)?|updates?)\b[\s:=#\[(]{{0,4}}{_NUMBERS}", re.IGNORECASE)
_BRACKETS = re.compile(rf"\[\s{{0,8}}{_NUMBERS}\s{{0,4}}\]")
_BAR = re.compile(r"(\d{1,3})(?:\.\d{1,3})?\s?%\s?\|[^|]{0,200}\|\s{0,8}(\d{1,9})/(\d{1,9})\s\[")
_PERCENT_BAR = re.compile(r"[━╸╺█=#>-]{4,}[^%\d]{0,8}(\d{1,3})(?:\.\d{1,3})?\s?%")
_RESULT = re.compile(r"\b(?:\w{0,12}loss|\w{0,12}acc(?:uracy)?|done|finished|took|val\w{0,12})\b", re.IGNORECASE)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]{0,12}[A-Za-z]")


class Printed(msgspec.Struct, kw_only=True):
    """What the lines so far say. Feed it whole lines in their order."""

    epoch: int | None = None
    epochs: int = 0
    from_zero: bool = False
    """Its epochs are counted from 0."""
    over: bool = False
    """The epoch was told with its results: it has ended."""
    within: float | None = None
    """How far the bar, or the steps, in it are."""

    @property
    def fraction(self) -> float | None:
        """How far the whole is; None = nothing has said so."""
        if self.epoch is None:
            return self.within
        before = self.epoch - (0 if self.from_zero else 1)
        part = 1.0 if self.over else self.within or 0.0
        return min(max((before + part) / self.epochs, 0.0), 1.0)

    def line(self, text: str) -> None:
        """Take in one line (or one state of a line that was overwritten)."""
        text = _ESCAPE.sub("", text[-LONGEST:])
        within = _within(text)
        epoch = _pair(_EPOCH.search(text))
        if epoch is not None:
            self._begin(*epoch)
            self.over = within is None and _RESULT.search(text) is not None
        elif within is not None:
            self.over = False
        if within is not None:
            self.within = within

    def _begin(self, number: int, of: int) -> None:
        if (number, of) != (self.epoch, self.epochs):
            self.within = None
        self.from_zero = number == 0 or (self.from_zero and of == self.epochs)
        self.epoch, self.epochs = number, of


def _within(text: str) -> float | None:
    for pattern in (_BAR, _STEP, _BRACKETS):
        pair = _pair(_last(pattern, text))
        if pair is not None:
            return pair[0] / pair[1]
    found = _last(_PERCENT_BAR, text)
    percent = int(found[1]) if found else 101
    return percent / 100.0 if percent <= 100 else None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    return found


def _pair(found: re.Match[str] | None) -> tuple[int, int] | None:
    """`k` of `n`, if that is a part of a whole."""
    if found is None:
        return None
    number, of = int(found[found.lastindex - 1 if found.lastindex else 0]), int(found[found.lastindex or 0])
    return (number, of) if 0 <= number <= of and of > 0 else None
