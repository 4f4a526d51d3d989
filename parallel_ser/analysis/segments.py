"""From the probability of speech in each frame to segments that are recognised one by one.

A **region** is speech without a pause of 0.2 s. Regions become **segments**: one ends at a pause of half a second, at
any pause once it lasts 3 s, and at its quietest frame where speech goes on for more than 6 s.

A network hears speech end some 0.1 s late, so a region's borders are moved, by at most 0.3 s, to where the level passes
25 dB under the region's loudest frame; where the background is not well below that they stay. Regions at a
segment's ends whose loudest frame is 25 dB under the segment's are breaths and clicks, and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SPEECH_FROM, SPEECH_TO = 0.5, 0.35
"""Probability at which a region begins, and below which it ends."""
PAUSE, BREAK = 0.2, 0.5
"""Seconds of a pause, and of one that ends a segment."""
SHORTEST, ENOUGH, LONGEST = 2.0, 3.0, 6.0
"""Seconds: a cut leaves at least the first, from the second on any pause ends a segment, none outlasts the third."""
LEAST_REGION = 0.1
"""Seconds of a region that counts."""
BELOW = 25.0
"""Decibels under a region's loudest frame at which its sound begins and ends, and under a segment's of what is none."""
MARGIN = 0.05
"""Seconds that are kept before and after a segment."""

_REACH = 0.3  # s that a border is moved
_CLEAR = 5.0  # dB that the background is below the level at which sound ends
_HISTORY = 3.0  # s


@dataclass(frozen=True)
class Span:
    """A segment of speech.

    Attributes:
        start: in seconds.
        end: in seconds.
        regions: start and end of its speech between pauses, in seconds.
    """

    start: float
    end: float
    regions: tuple[tuple[float, float], ...]

    @property
    def speech(self) -> float:
        """Seconds of speech without pauses."""
        return sum(end - start for start, end in self.regions)


@dataclass
class Segmenter:
    """Takes frames as they come and gives the segments that are complete.

    Attributes:
        frame: seconds of a frame.
    """

    frame: float
    _count: int = 0  # frames so far
    _start: int | None = None  # of the region that goes on
    _quiet: int | None = None  # where its speech may have ended
    _regions: list[tuple[int, int]] = field(default_factory=list)
    _peaks: list[float] = field(default_factory=list)  # of these, dB
    _levels: list[float] = field(default_factory=list)  # since the segment began, and of some seconds before
    _done: int = 0  # where the last region ended
    _first: int = 0  # frame of the first of them

    def __call__(self, probabilities: np.ndarray, levels: np.ndarray) -> list[Span]:
        """Segments that ended.

        Args:
            probabilities: of speech, of the next frames.
            levels: of these in dB.
        """
        found: list[Span] = []
        for probability, level in zip(probabilities.tolist(), levels.tolist(), strict=True):
            self._levels.append(level)
            self._count += 1
            self._step(probability, found)
        return found

    def flush(self) -> list[Span]:
        """The segment that goes on at the end."""
        found: list[Span] = []
        self._end_region(self._count if self._quiet is None else self._quiet, found)
        self._emit(found)
        return found

    @property
    def needed(self) -> float:
        """Seconds before which no further segment begins."""
        first = self._regions[0][0] if self._regions else self._start
        return (self._count if first is None else first) * self.frame - MARGIN - _REACH

    def _step(self, probability: float, found: list[Span]) -> None:
        now = self._count
        if self._start is None:
            if probability >= SPEECH_FROM:
                self._start, self._quiet = now - 1, None
                if not self._regions:
                    self._forget(now - 1)
            elif not self._regions:
                self._forget(now)
            elif (now - self._regions[-1][1]) * self.frame >= BREAK:
                self._emit(found)
            return
        if probability >= SPEECH_TO:
            self._quiet = None
        elif self._quiet is None:
            self._quiet = now - 1
        if self._quiet is not None and (now - self._quiet) * self.frame >= PAUSE:
            self._end_region(self._quiet, found)
        elif (now - self._begin()) * self.frame >= LONGEST:
            self._cut(found)

    def _begin(self) -> int:
        assert self._start is not None
        return self._regions[0][0] if self._regions else self._start

    def _end_region(self, end: int, found: list[Span]) -> None:
        if self._start is None:
            return
        start, self._start, self._quiet = self._start, None, None
        start, end = self._borders(start, end)
        if self._regions and (start - self._regions[-1][1]) * self.frame >= BREAK:
            self._emit(found)  # the network heard speech in a pause that is one
        if (end - start) * self.frame >= LEAST_REGION:
            self._append(start, end)
            self._done = end
        if self._regions and (self._regions[-1][1] - self._regions[0][0]) * self.frame >= ENOUGH:
            self._emit(found)

    def _cut(self, found: list[Span]) -> None:
        """End a segment that is too long: at its last pause, or else at the quietest frame of its second half."""
        assert self._start is not None
        if self._regions and (self._regions[-1][1] - self._regions[0][0]) * self.frame >= SHORTEST:
            self._emit(found)
            return
        first = self._begin() + round(SHORTEST / self.frame)
        first = max(first, self._start + 1)
        own = self._levels[first - self._first : self._count - 1 - self._first]
        place = first + (int(np.argmin(own)) if own else 0)
        self._append(max(self._start, self._done), place)
        self._start = self._done = place
        self._emit(found)

    def _append(self, start: int, end: int) -> None:
        self._regions.append((start, end))
        self._peaks.append(max(self._levels[start - self._first : end - self._first], default=-np.inf))

    def _emit(self, found: list[Span]) -> None:
        if self._regions:
            loud = np.flatnonzero(np.array(self._peaks) >= max(self._peaks) - BELOW)
            own = self._regions[loud[0] : loud[-1] + 1]
            regions = tuple((start * self.frame, end * self.frame) for start, end in own)
            found.append(Span(max(0.0, regions[0][0] - MARGIN), regions[-1][1] + MARGIN, regions))
        self._regions, self._peaks = [], []
        self._forget(self._count if self._start is None else self._start)

    def _borders(self, start: int, end: int) -> tuple[int, int]:
        """A region's first frame, and the first one behind it, by the level around them."""
        level = np.array(self._levels)
        start, end = max(start, self._done), max(end, self._done)
        first, last = start - self._first, end - self._first
        if last <= first:
            return start, end
        least = float(level[first:last].max()) - BELOW
        if float(np.percentile(level, 10)) > least - _CLEAR:
            return start, end
        loud = level >= least
        reach = round(_REACH / self.frame)
        lowest, highest = max(self._done - self._first, first - reach), min(len(level), last + reach)
        if loud[first]:
            while first > lowest and loud[first - 1]:
                first -= 1
        else:
            first += min(int(np.argmax(loud[first:last])), reach)
        if loud[last - 1]:
            while last < highest and loud[last]:
                last += 1
        else:
            last -= min(int(np.argmax(loud[first:last][::-1])), reach)
        return first + self._first, last + self._first

    def _forget(self, frame: int) -> None:
        """Levels before a frame are needed no more, but for some that tell the background."""
        frame -= round(_HISTORY / self.frame)
        del self._levels[: max(0, frame - self._first)]
        self._first = max(self._first, frame)
