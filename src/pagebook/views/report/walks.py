"""The walks that were asked for: what each access comes to and why, the steps, the page directories, and the text."""

from __future__ import annotations

from collections.abc import Iterator

from pagebook.explain import Explanation
from pagebook.views import access
from pagebook.views.report import markup
from pagebook.views.report.found import Found, Room
from pagebook.views.report.markup import MOST_NAME, Html, element, folded, joined, short
from pagebook.views.svg import directories, steps
from pagebook.views.text import count_text


def walks(found: Found, room: Room) -> tuple[Html, int]:
    """A section for each walk that has room, and how many those are."""
    told = list(room.first((_walk(one, number) for number, one in enumerate(found.walks, 1)), len(found.walks)))
    left = len(found.walks) - len(told)
    more = element("p", f"{count_text(left, 'walk')} had no room.", class_="left-out") if left else ""
    return joined((*told, more)), len(told)


def title(walk: Explanation) -> str:
    """A walk in a few words."""
    return f"{access.kind_text(walk.kind)} at {walk.va:#x} in {short(walk.space.name, MOST_NAME)}"


def _walk(walk: Explanation, number: int) -> Html:
    lines = [[short(text) for text, _ in line] for line in access.reasons(walk)]
    verdict, *reasons = [(line[0].strip(), "".join(line[1:])) for line in lines]
    bad = walk.outcome.rule is not None
    return element(
        "section",
        element("h3", title(walk)),
        element("p", element("strong", f"{verdict[0]}: "), verdict[1], class_="verdict bad" if bad else "verdict"),
        markup.facts(reasons),
        markup.figure(steps.walk(walk, reasons=False), f"walk-{number}-steps"),
        *_directories(walk, number),
        folded("The same as text", element("pre", *_text(walk), tabindex=0)),
        class_="walk", id=f"walk-{number}",
    )  # fmt: skip


def _directories(walk: Explanation, number: int) -> Iterator[Html]:
    """The figure of each page that is touched; of none for which no PTE is read."""
    for page, part in enumerate(walk.pages, 1):
        led = access.walk(walk, part)
        if led:
            yield markup.figure(directories.directories(led), f"walk-{number}-directories-{page}")


def _text(walk: Explanation) -> Iterator[Html]:
    for line in access.access(walk):
        yield joined((short("".join(text for text, _ in line)), Html("\n")))
