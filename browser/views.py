"""What is done in each view, as a reader does it, and what must then be there."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

SHORT = 200  # milliseconds
PATIENCE = 60.0  # seconds
Page = Any  # of Playwright's, which is not imported to look at this file


def state(page: Page) -> dict[str, str]:
    """The state in the link."""
    return {name: values[0] for name, values in parse_qs(page.evaluate("location.hash.slice(1)")).items()}


def go(page: Page, hash: str) -> None:
    """Go to a state by its link, and wait until it is shown."""
    page.evaluate(
        """hash => location.hash === hash || new Promise((done) => {
        addEventListener("hashchange", done, { once: true }); location.hash = hash;
        })""",
        hash,
    )
    page.wait_for_selector("#main[aria-busy=false]", timeout=PATIENCE * 1000)


def settled(page: Page, script: str, what: str) -> None:
    """Wait until ``script`` is true on the page; asked from here, for the page's policy lets nothing wait inside it."""
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate(script):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not so; the notice says {page.text_content('#said')!r} at {page.url}")
        page.wait_for_timeout(50)


def book(page: Page, frame: str) -> list[float]:
    """Zoom by keys from all of RAM to one frame and back; the milliseconds between frames while that was done."""
    go(page, "#view=book")
    page.focus("canvas.cells")
    assert "a cell is" in page.text_content(".scale")
    page.evaluate(
        """() => {
        window.gaps = []; let last = performance.now(); window.measuring = true;
        const tick = (now) => { gaps.push(now - last); last = now; if (measuring) requestAnimationFrame(tick); };
        requestAnimationFrame(tick);
        }"""
    )
    page.keyboard.press("ArrowRight")
    for _ in range(40):
        page.keyboard.press("+")
    settled(page, "new URLSearchParams(location.hash.slice(1)).get('row') === '0'", "+ zooms to one frame a row")
    for _ in range(40):
        page.keyboard.press("-")
    gaps = page.evaluate("() => { measuring = false; return gaps; }")
    page.mouse.move(*_middle(page, "canvas.cells"))
    before = state(page)["row"]
    page.mouse.wheel(0, -100)
    settled(page, f"new URLSearchParams(location.hash.slice(1)).get('row') !== '{before}'", "the wheel zooms")
    go(page, f"#view=book&sel={frame}")
    settled(page, f"document.querySelector('.card h2').textContent.includes('{frame}')", "a link opens a frame's card")
    assert page.locator(".card .bytes").text_content().startswith("000  ")
    page.select_option("#by", "owner")
    settled(page, "location.hash.includes('by=owner')", "the colours are in the link")
    return list(gaps)


def folding(page: Page) -> None:
    """Unfold the free memory by the box, fold it, and unfold it by a link to a frame that is folded away."""
    go(page, "#view=book")
    settled(page, "document.querySelector('.scale').textContent.includes('folded')", "a book is folded")
    folded = page.text_content(".scale")
    page.focus("#fold")
    page.keyboard.press("Space")
    settled(page, "!document.querySelector('.scale').textContent.includes('folded')", "the box unfolds it")
    page.keyboard.press("Space")
    settled(page, f"document.querySelector('.scale').textContent === {folded!r}", "and folds it again")
    hidden = "0x81000000"
    go(page, f"#view=book&sel={hidden}")
    settled(page, "!document.getElementById('fold').checked", "a link to a frame that is folded away shows it")
    settled(page, f"document.querySelector('.card h2').textContent.includes('{hidden}')", "and its card")
    page.focus("canvas.cells")
    page.keyboard.press("0")
    settled(page, "document.querySelector('.scale').textContent.includes('a row is 4 MiB')", "0 shows all of RAM")
    page.focus("#fold")
    page.keyboard.press("Space")
    settled(page, f"document.querySelector('.scale').textContent === {folded!r}", "the box folds the book about it")
    _across_the_band(page)


def _across_the_band(page: Page) -> None:
    """The arrow keys step over what is folded, and Enter unfolds it."""
    before, band, behind = "0x800ff000", "0x80100000", "0x87f00000"
    go(page, f"#view=book&sel={before}")
    settled(page, f"document.querySelector('.card h2').textContent.includes('{before}')", "the frame before the band")
    page.focus("canvas.cells")
    for key, sel in (("Right", band), ("Right", behind), ("Left", "0x8013f000"), ("Left", before), ("Right", band)):
        page.keyboard.press(f"Arrow{key}")
        settled(page, f"location.hash.includes('sel={sel}')", f"the arrow goes to {sel}")
    page.keyboard.press("Enter")
    settled(page, "!document.getElementById('fold').checked", "Enter unfolds the band")


def _middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def spaces(page: Page, space: str) -> None:
    """Open a region into its tables, another cell by keys, and see its bits."""
    go(page, f"#view=spaces&space={space}")
    settled(page, "document.querySelectorAll('.region').length > 0", "regions are listed")
    page.locator(".region").first.press("Enter")
    settled(page, "document.querySelectorAll('.tables .grid').length > 0", "a region opens into tables")
    assert page.locator(".tables .grid").last.locator(".cell").count() in (512, 1024)
    assert page.locator(".tables .field").count() > 0
    page.locator(".tables .grid").last.locator("[aria-selected=true]").focus()
    page.keyboard.press("ArrowRight")
    chosen = page.evaluate("document.activeElement.dataset.index")
    page.keyboard.press("Enter")
    settled(page, f"document.activeElement.dataset?.index === '{chosen}'", "the focus stays on the chosen entry")


def walk(page: Page, space: str, va: str, access: str, fault: bool) -> None:
    """Type an access, step to its end by keys, back, and to the end again."""
    go(page, "#view=walk")
    page.select_option("#walk-space", space)
    page.fill("#walk-va", va)
    page.press("#walk-va", "Enter")
    page.select_option("#walk-access", access)
    settled(page, f"location.hash.includes('va={va}')", "what is typed is in the link")
    settled(page, "!document.querySelector('.shown').hidden", "the walk is shown")
    page.wait_for_load_state("networkidle")
    settled(page, "!document.querySelector('#verdict').hidden", "the verdict comes first")
    page.focus(".shown")
    page.keyboard.press("Home")
    settled(page, "document.querySelector('#verdict').hidden", "the start knows no verdict")
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)
    settled(page, "!document.querySelector('#verdict').hidden", "the steps end at the verdict")
    assert page.locator("#verdict > p.bad").count() == int(fault), page.text_content("#verdict")
    if fault:
        assert page.locator(".entry .field.decided").count() > 0, "the deciding bit is marked"
    page.keyboard.press("ArrowLeft")
    settled(page, "document.querySelector('#verdict').hidden", "a step back hides the verdict")
    page.keyboard.press("End")
    settled(page, "!document.querySelector('#verdict').hidden", "End shows it again")


def trap(page: Page, printed: str, space: str, likely: str) -> None:
    """Paste what a kernel printed into the walk, and into the search: explained, step by step."""
    go(page, "#view=walk")
    if not page.evaluate("document.querySelector('.crash').open"):
        page.click(".crash summary")
    page.fill("#walk-trap", printed)
    page.click(".crash button")
    settled(page, f"document.querySelector('#told')?.textContent.includes('{likely}')", "a crash is explained")
    settled(page, f"document.getElementById('walk-space').value === '{space}'", "the space that explains it is chosen")
    page.focus(".shown")
    page.keyboard.press("ArrowLeft")
    settled(page, "document.querySelector('#verdict').hidden", "its walk can be stepped")
    go(page, "#view=book")
    page.fill("#words", "hart 2 starting\n" * 300 + printed)
    page.press("#words", "Enter")
    settled(page, f"document.querySelector('#told')?.textContent.includes('{likely}')", "the search explains it too")


def refused(page: Page) -> None:
    """What cannot be asked is said, and stays said; what was shown before is not taken for an answer."""
    go(page, "#view=spaces&space=nobody")
    settled(page, "document.getElementById('said').textContent.includes('nobody')", "a space that is not there is said")
    assert page.locator(".region").count() == 0, "and nothing of another is shown"
    go(page, "#view=walk&space=nobody&va=0x1000")
    settled(page, "document.getElementById('said').textContent.includes('nobody')", "so it is in a walk")
    page.wait_for_timeout(1500)
    assert "nobody" in page.text_content("#said"), "it stays said"
    assert page.locator(".shown").is_hidden(), "no verdict stands beside it"
    go(page, "#view=walk&trap=panic%3A+mappages%3A+remap")
    settled(
        page,
        "document.getElementById('told').textContent.includes('a valid leaf stands there')",
        "a panic is told about",
    )
    go(page, "#view=book&sel=0x80000000")
    settled(page, "document.querySelector('.card h2').textContent.includes('0x80000000')", "a frame has its card")
    go(page, "#view=book&sel=0x1234")
    settled(page, "document.getElementById('said').textContent.includes('0x1000')", "a frame that is none is said")
    assert "0x80000000" not in page.text_content(".card"), "and the card is not another's"
    go(page, "#view=nothing")
    settled(page, "document.getElementById('said').textContent.includes('no view')", "a view that is none is said")


def figure(page: Page, hash: str, inside: str) -> None:
    """Ask for the first figure of a part of a view: an image that the browser can draw, and a file to keep."""
    go(page, hash)
    page.locator(f"{inside} button.figure").first.click()
    settled(page, "document.querySelector('dialog img')?.naturalWidth > 100", f"a figure is drawn of {inside}")
    with page.expect_download() as kept:
        page.click("dialog a[download]")
    assert kept.value.suggested_filename.endswith(".svg"), "and can be kept"
    page.keyboard.press("Escape")
    settled(page, "!document.querySelector('dialog')", "Escape closes it")


def checks(page: Page, rule: str | None, frame: str = "") -> None:
    """Nothing wrong; or a finding of this rule, whose story opens and whose way leads to the frame in the book."""
    page.locator("#tab-checks").click()
    if rule is None:
        settled(page, "document.querySelector('.lead').textContent.startsWith('Nothing is wrong')", "nothing is wrong")
        return
    settled(page, "document.querySelectorAll('.finding').length > 0", "something is found")
    one = page.locator(".finding", has_text=rule).first
    one.locator("summary").click()
    one.locator("details p").first.wait_for()
    one.locator("a.button", has_text="in the book").click()
    settled(page, f"document.querySelector('.card h2')?.textContent.includes('{frame}')", "the way leads to the frame")


def tape(page: Page) -> None:
    """Scrub, step, play and rewind the tape; drive the kernel until a frame is lost, and find it by its finding."""
    go(page, "#view=time")
    settled(page, "document.querySelectorAll('.story li').length > 10", "the story is told")
    steps = int(page.get_attribute("#scrub", "max"))
    page.fill("#scrub", str(steps // 2))
    _stands(page, steps // 2)
    page.locator("main").focus()
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        _stands(page, steps // 2 + step)
    page.keyboard.press("Home")
    _stands(page, 0)
    page.keyboard.press("PageDown")
    settled(page, "document.querySelector('.story .current strong')?.textContent === 'kinit'", "a sentence on")
    page.locator("main").focus()
    page.keyboard.press(" ")
    at = int(state(page)["t"])
    settled(page, f"Number(new URLSearchParams(location.hash.slice(1)).get('t')) > {at + 2}", "the tape plays")
    page.keyboard.press(" ")
    settled(page, "document.getElementById('play').textContent.includes('Play')", "the tape pauses")
    page.select_option("#pace", "sentence")
    for name in ("fork", "lose"):
        page.locator(f".operation[data-name={name}] button").click()
        _is_done(page, name)
        page.keyboard.press("End")
        settled(page, "!document.getElementById('scrub').disabled && scrub.value === scrub.max", "the tape ends")
    checks(page, "leaked-frame")
    _clicks(page)
    page.locator("#when").click()
    settled(page, "document.getElementById('when').hidden", "the tape can be left")


def _is_done(page: Page, word: str) -> None:
    told = "document.querySelector('.outcome').textContent"
    settled(page, f"{told}.startsWith('{word}') && !{told}.endsWith('…')", f"{word} is done")


def _clicks(page: Page) -> None:
    """Clicks that come faster than the kernel does what they ask for are all done, one after the other."""
    go(page, "#view=time")
    fork = page.locator(".operation[data-name=fork] button")
    for _ in range(4):
        fork.click()
    settled(
        page,
        "(new URLSearchParams(location.hash.slice(1)).get('ops') ?? '').split(',').length === 4",
        "no click is lost",
    )
    _back_at_once(page)
    page.get_by_role("button", name="Start anew").click()
    page.locator(".operation[data-name=lose] button").click()
    settled(page, "/ops=lose\\.\\d+(&|$)/.test(location.hash)", "what is asked for after a new start is done after it")
    _is_done(page, "lose")


def _back_at_once(page: Page) -> None:
    """What is taken back, and is there again before that is shown, is shown as it was."""
    page.keyboard.press("End")
    settled(page, "scrub.value === scrub.max", "the tape ends")
    page.wait_for_timeout(SHORT)
    where = page.text_content("#where")
    for pause in (0, SHORT):
        page.get_by_role("button", name="Take the last back").click()
        page.wait_for_timeout(pause)
        page.go_back()
        settled(page, f"document.getElementById('where').textContent === {where!r}", "the tape is as it was")
        page.wait_for_timeout(5 * SHORT)
        assert page.text_content("#where") == where, "and stays so"


def _stands(page: Page, step: int) -> None:
    words = f"Step {step:,} of"
    settled(page, f"document.getElementById('where').textContent.startsWith('{words}')", f"the tape stands at {step}")


def changes(page: Page) -> None:
    """What changed in a guest, or that a file has no time."""
    go(page, "#view=time")
    settled(page, "document.querySelector('.time .lead').textContent.length > 20", "it is said what changed")


def search(page: Page, words: str) -> None:
    """Search by the keyboard alone, and go to the first place."""
    page.keyboard.press("Escape")
    page.locator("#main").focus()
    page.keyboard.press("/")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.locator("#hits a").first.wait_for()
    page.keyboard.press("Enter")
    settled(page, "document.getElementById('hits').hidden", "a chosen place closes the list")
