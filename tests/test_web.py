"""The server of the page: what it refuses, and that its answers are those of the rooms below."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from pagebook.errors import BadTarget, SourceLost
from pagebook.faults import explain_fault
from pagebook.ledger import Ledger
from pagebook.mmu import Mmu
from pagebook.printed import Printed
from pagebook.targets import ModelOptions, Target, opened
from pagebook.views import access, facts
from pagebook.web import looks as looks_room
from pagebook.web.app import make_app, page_files
from pagebook.web.gate import HEADERS, MOST_PATH, MOST_QUERY, Gate
from pagebook.web.looks import Looks

PORT = 4711
TRAP = "usertrap():+unexpected+scause+0xf+pid%3D7+sepc%3D0x38+stval%3D0x2fb0"
TOKEN = "a-token-of-this-run"
HOST = f"127.0.0.1:{PORT}"
PARSING = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"  # text as HTML or code
GOOD = {"host": HOST, "authorization": f"Bearer {TOKEN}"}


class Answered:
    """What came back: ``status``, ``headers`` and ``body``."""

    def __init__(self, messages):
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    @property
    def data(self):
        return json.loads(self.body)


def ask(app, path, query="", headers=None, method="GET", more=()):
    """One request to an ASGI app, without a network."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    given = [(name.encode(), value.encode("latin-1")) for name, value in (GOOD if headers is None else headers).items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [*given, *more], "client": ("127.0.0.1", 5), "server": ("127.0.0.1", PORT),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return Answered(sent)


@pytest.fixture(scope="module")
def looks():
    with opened("xv6", ModelOptions(ram=4 << 20, nproc=8)) as target:
        yield Looks(target, moves=False)


@pytest.fixture(scope="module")
def app(looks):
    return make_app(looks, "127.0.0.1", PORT, TOKEN)


def api(app, name, query=""):
    found = ask(app, f"/api/{name}", query)
    assert found.status == 200, found.body
    return found.data


def refused(app, name, query):
    found = ask(app, f"/api/{name}", query)
    assert found.status == 400, found.body
    return found.data["error"]


WRONG = {
    "another name as host": ("/api/machine", "", {"host": f"evil.example:{PORT}"}, "GET", 403),
    "another port": ("/", "", {"host": "127.0.0.1:80"}, "GET", 403),
    "a host without a port": ("/", "", {"host": "127.0.0.1"}, "GET", 403),
    "a host with a port that is none": ("/", "", {"host": "127.0.0.1:47-11"}, "GET", 403),
    "an empty host": ("/", "", {"host": ""}, "GET", 403),
    "a name that ends like ours": ("/", "", {"host": f"x127.0.0.1:{PORT}"}, "GET", 403),
    "a name that begins like ours": ("/", "", {"host": f"127.0.0.1.evil.example:{PORT}"}, "GET", 403),
    "the page of another origin": ("/api/machine", "", {"origin": "http://evil.example"}, "GET", 403),
    "another port's origin": ("/api/machine", "", {"origin": "http://127.0.0.1:4712"}, "GET", 403),
    "an origin that says nothing": ("/api/machine", "", {"origin": "null"}, "GET", 403),
    "https, which it is not": ("/api/machine", "", {"origin": f"https://{HOST}"}, "GET", 403),
    "a request from another site": ("/api/machine", "", {"sec-fetch-site": "cross-site"}, "GET", 403),
    "a request from a neighbour": ("/api/machine", "", {"sec-fetch-site": "same-site"}, "GET", 403),
    "a wrong token": ("/api/machine", "", {"authorization": f"Bearer {TOKEN}x"}, "GET", 401),
    "a part of the token": ("/api/machine", "", {"authorization": f"Bearer {TOKEN[:-1]}"}, "GET", 401),
    "an empty token": ("/api/machine", "", {"authorization": "Bearer "}, "GET", 401),
    "no word before the token": ("/api/machine", "", {"authorization": TOKEN}, "GET", 401),
    "a token of strange letters": ("/api/machine", "", {"authorization": "Bearer \xff\xfe"}, "GET", 401),
    "the token in the query": ("/api/machine", f"token={TOKEN}", {"authorization": ""}, "GET", 401),
    "no token for a path that is not there": ("/api/nothing", "", {"authorization": ""}, "GET", 401),
    "POST": ("/api/machine", "", {}, "POST", 405),
    "PUT": ("/", "", {}, "PUT", 405),
    "DELETE": ("/api/machine", "", {}, "DELETE", 405),
    "HEAD": ("/", "", {}, "HEAD", 405),
    "OPTIONS": ("/api/machine", "", {}, "OPTIONS", 405),
    "an unknown path": ("/api/nothing", "", {}, "GET", 404),
    "a path with a slash more": ("/api/machine/", "", {}, "GET", 404),
    "an unknown file": ("/secret.html", "", {}, "GET", 404),
    "a file above": ("/../app.py", "", {}, "GET", 404),
    "an over-long query": ("/api/search", "q=" + "a" * MOST_QUERY, {}, "GET", 414),
    "an over-long path": ("/" + "a" * MOST_PATH, "", {}, "GET", 414),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_is_not_the_page_s_own_request_is_refused_and_told_nothing(app, case):
    path, query, headers, method, status = case
    found = ask(app, path, query, GOOD | headers, method)
    assert found.status == status
    assert set(found.data) == {"error"}
    assert {name: found.headers[name] for name in HEADERS} == HEADERS
    assert TOKEN not in found.body.decode()


def test_a_request_without_host_or_without_token_is_refused(app):
    assert ask(app, "/", headers={"authorization": GOOD["authorization"]}).status == 403
    assert ask(app, "/api/machine", headers={"host": HOST}).status == 401


def test_a_header_that_comes_twice_is_neither_of_the_two(app):
    assert ask(app, "/", more=[(b"host", b"evil.example")]).status == 403
    assert ask(app, "/api/machine", more=[(b"authorization", b"Bearer x")]).status == 401


def test_the_same_requests_are_answered_when_they_are_right(app):
    assert ask(app, "/api/machine").status == 200
    assert ask(app, "/api/machine", headers=GOOD | {"origin": f"http://{HOST}"}).status == 200
    assert ask(app, "/api/machine", headers=GOOD | {"sec-fetch-site": "same-origin"}).status == 200
    assert ask(app, "/api/machine", headers=GOOD | {"host": f"localhost:{PORT}"}).status == 200
    assert ask(app, "/api/machine", headers=GOOD | {"authorization": f"bearer {TOKEN}"}).status == 200


def test_every_answer_forbids_scripts_from_elsewhere_guessing_and_keeping(app):
    for path in ("/", "/style.css", "/api/machine"):
        found = ask(app, path)
        assert {name: found.headers[name] for name in HEADERS} == HEADERS
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    ("address", "host", "ours"),
    [
        ("127.0.0.1", "127.0.0.1:4711", True),
        ("127.0.0.1", "localhost:4711", True),
        ("127.0.0.1", "[::1]:4711", False),
        ("::1", "[::1]:4711", True),
        ("::1", "localhost:4711", True),
        ("10.1.2.3", "10.1.2.3:4711", True),
        ("10.1.2.3", "localhost:4711", False),
        ("10.1.2.3", "10.1.2.4:4711", False),
        ("0.0.0.0", "10.1.2.3:4711", True),
        ("0.0.0.0", "evil.example:4711", False),
        ("0.0.0.0", "10.1.2.3:4712", False),
    ],
)
def test_a_server_answers_to_its_own_address_whatever_that_is(address, host, ours):
    assert Gate(None, address, PORT, TOKEN).is_ours(host) is ours


def test_port_80_needs_no_number():
    assert Gate(None, "127.0.0.1", 80, TOKEN).is_ours("127.0.0.1")


def test_the_page_loads_nothing_from_elsewhere_and_has_no_script_or_style_inside():
    for name, data in page_files().items():
        text = data.decode()
        links = set(re.findall(r"https?://[^\s\"')]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not links, name
        assert not re.search(PARSING, text), name
    page = page_files()["index.html"].decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
    wanted = re.findall(r"(?:src|href)=\"([^\"#]+)\"", page)
    modules = {name for data in page_files().values() for name in re.findall(r"from \"\./([\w.]+)\"", data.decode())}
    assert {*wanted, *modules} | {"index.html"} == set(page_files())


def test_every_file_of_the_page_is_served_with_its_kind(app):
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name, data in page_files().items():
        found = ask(app, "/" if name == "index.html" else f"/{name}", headers={"host": HOST})
        assert found.status == 200
        assert found.body == data
        assert found.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])


def test_the_page_names_every_module_so_that_none_waits_for_another():
    named = re.findall(r'(?:modulepreload" href|module" src)="([a-z]+\.js)"', page_files()["index.html"].decode())
    assert sorted(named) == sorted(name for name in page_files() if name.endswith(".js"))


def test_the_machine_is_told_with_its_frames_by_role(app, looks):
    found = api(app, "machine")
    machine = looks.now().machine
    assert [one["name"] for one in found["spaces"]] == [space.name for space in machine.spaces]
    assert {one["name"]: one["frames"] for one in found["roles"]} == {
        role.label: count for role, count in Ledger(machine).counts().items()
    }
    assert found["frames"] == sum(one["frames"] for one in found["roles"]) == 1024
    assert (found["live"], found["generation"], found["trouble"]) == (False, 1, "")


def test_the_book_s_answer_is_as_long_as_its_cells(app):
    found = api(app, "book", "from=0&to=1024&cells=256")
    assert (found["first"], found["shift"], found["frames"]) == (0, 2, 1024)
    assert len(found["roles"]) == len(found["present"]) == len(found["owners"]) == 256


def test_a_frame_tells_its_owner_every_address_that_reaches_it_and_its_bytes(app, looks):
    machine = looks.now().machine
    sh = machine.space("sh")
    pa = sh.table.translate(0x1000)
    found = api(app, "frame", f"pa={pa + 5:#x}")
    assert (found["pa"], found["role"], found["owner"]) == (hex(pa), "user", "sh")
    assert ("sh", "0x1000") in [(use["space"], use["va"]) for use in found["uses"]]
    assert ("kernel", hex(pa)) in [(use["space"], use["va"]) for use in found["uses"]]
    assert bytes.fromhex(found["bytes"]) == machine.memory.read(pa, 4096)
    root = api(app, "frame", f"pa={sh.table.root:#x}")
    assert (root["role"], root["owner"], root["level"]) == ("page table", "sh", 2)


def test_a_device_has_an_owner_but_no_bytes(app):
    found = api(app, "frame", "pa=0x10000000")
    assert (found["role"], found["bytes"], found["number"]) == ("device", None, None)
    assert found["uses"][0]["space"] == "kernel"
    assert ask(app, "/api/frame", "pa=0x4000000000").status == 400


def test_a_space_is_told_with_the_runs_that_maps_lists(app, looks):
    found = api(app, "space", "name=kernel")
    listed = facts.listing(looks.now().machine.space("kernel"), facts.Filter())
    assert [(run["va"], run["name"]) for run in found["runs"]] == [(hex(run.va), run.name) for run in listed.runs()]
    assert (found["mappings"], found["more_runs"], found["problems"]) == (listed.mappings, False, [])
    assert ask(app, "/api/space", "name=nobody").status == 400


def test_a_table_is_512_entries_with_what_each_leads_to(app, looks):
    space = looks.now().machine.space("init")
    found = api(app, "table", f"space=init&pa={space.table.root:#x}")
    assert (found["level"], len(found["ptes"]), found["role"]) == (2, 512, "page table")
    assert [kind for kind in found["kinds"] if kind] == [1, 1]
    below = api(app, "table", f"space=init&pa={found['targets'][0]}&level=1")
    leaves = api(app, "table", f"space=init&pa={below['targets'][0]}&level=0")
    assert leaves["kinds"][0] == 2
    assert int(leaves["targets"][0], 16) == space.table.translate(0)
    assert leaves["flags"][0] == "vr-xu---"
    assert ask(app, "/api/table", f"space=init&pa={space.table.root:#x}&level=3").status == 400
    assert ask(app, "/api/table", "space=init&pa=0x1000").status == 400


def test_a_pte_is_taken_apart_with_the_places_of_its_bits(app):
    found = api(app, "pte", "value=0x21fdd0c7")
    assert found["kind"] == "leaf"
    assert {"name": "PPN", "low": 10, "bits": 44} in found["places"]
    assert ask(app, "/api/pte", "value=0x100000000&format=Sv32").status == 400
    assert ask(app, "/api/pte", "value=1&format=Sv128").status == 400


def test_a_walk_says_which_bit_decided(app):
    good = api(app, "walk", "space=sh&va=0x1000&access=store")
    assert good["cause"] is None
    assert len(good["pages"][0]["steps"]) == 3
    bad = api(app, "walk", "space=sh&va=0&access=store")
    assert (bad["cause"], bad["decided"]) == (15, {"W": 0})
    kernel = api(app, "walk", "space=sh&va=0x1000&priv=S")
    assert (kernel["rule"]["id"], kernel["decided"]) == ("user-page", {"U": 1, "SUM": 0})
    assert api(app, "walk", "space=sh&va=0x1000&priv=S&sum=1")["cause"] is None
    for wrong in ("space=sh", "space=sh&va=zz", "space=sh&va=0&access=jump", "space=sh&va=0&size=9", "va=0"):
        assert ask(app, "/api/walk", wrong).status == 400


def test_the_hart_s_extensions_are_asked_for_in_the_query(looks, app):
    sh = looks.now().machine.space("sh")
    pte_pa, pte, _ = sh.table.find(0x1000)
    looks.now().machine.memory.write64(pte_pa, pte & ~0xC0)
    try:
        assert api(app, "walk", "space=sh&va=0x1000&svade=1")["rule"]["id"] == "a-clear"
        assert api(app, "walk", "space=sh&va=0x1000")["cause"] is None
    finally:
        looks.now().machine.memory.write64(pte_pa, pte)


def test_findings_come_with_their_rules_and_each_rule_has_its_page(app):
    found = api(app, "checks")
    assert found["findings"] == []
    assert set(found["names"]) == set(found["rules"])
    told = api(app, "rule", "id=PB103")
    assert told["text"].startswith("# PB103: free-but-mapped")
    assert ask(app, "/api/rule", "id=../../secret").status == 400


def test_search_knows_addresses_frame_numbers_and_names(app):
    def views(words):
        return {(hit["view"], hit["space"]) for hit in api(app, "search", f"q={words}")["hits"]}

    assert ("book", None) in views("0x80000000")
    assert ("walk", "kernel") in views("0x80000000")
    assert ("book", None) in views("0x80000")
    assert {("walk", "init"), ("walk", "sh")} <= views("0x1000")
    assert ("spaces", "sh") in views("sh")
    assert ("walk", "sh") in views("trapframe")
    assert ("walk", "kernel") in views("trampoline")
    assert views("") == views("nobody%20is%20so%20called") == set()


def test_search_knows_rules_and_traps(app):
    (rule,) = api(app, "search", "q=pb102")["hits"]
    assert (rule["view"], rule["rule"]) == ("rule", "PB102")
    assert any(hit["rule"] == "PB102" for hit in api(app, "search", "q=leaked")["hits"])
    assert [hit["view"] for hit in api(app, "search", f"q={TRAP}")["hits"]] == ["trap"]


def test_a_trap_is_explained_as_the_verb_does(app, looks):
    found = api(app, "fault", f"trap={TRAP}")
    machine = looks.now().machine
    asked = Printed(15, 0x2FB0, 0x38, 7)
    told = explain_fault(machine, Mmu(machine.memory), asked, priv="U", model=True)
    assert found["fits"] and told.fits
    assert [(one["label"], one["words"]) for one in found["told"]] == [one[:2] for one in access.told(told)]
    assert found["access"]["verdict"] == told.chosen.verdict
    assert (found["access"]["space"], found["access"]["va_shape"]["pte_bytes"]) == ("sh", 8)
    nobody = api(app, "fault", "trap=scause+0xf+sepc+0x7000+stval+0x10")
    assert (nobody["fits"], nobody["access"]) == (False, None)
    assert ask(app, "/api/fault", "trap=hello").status == 400
    panic = api(app, "fault", "trap=xv6+boots+panic:+mappages:+remap")
    assert (panic["printed"], panic["access"]) == ("panic: mappages: remap", None)
    assert [one["label"] for one in panic["told"]] == ["why", "likely", "then"]
    assert panic["told"][0]["words"] == "a valid leaf stands there already"
    illegal = api(app, "fault", "trap=scause+2+stval+0+sepc+0x38+pid=2")
    assert [one["label"] for one in illegal["told"]][:2] == ["why", "code"]
    assert illegal["told"][1]["words"] == "0x38 is in text of sh"
    unknown = api(app, "fault", "trap=panic:+ilock")
    assert unknown["told"][-1]["words"].startswith('look for panic("ilock") in the kernel')
    assert api(app, "search", "q=panic:+ilock")["hits"][0]["view"] == "trap"


def test_a_fault_of_ours_is_told_without_its_inside(looks, monkeypatch):
    monkeypatch.setattr(Looks, "now", lambda self: 1 / 0)
    app = make_app(looks, "127.0.0.1", PORT, TOKEN)
    with pytest.raises(ZeroDivisionError):  # so that the server logs it
        ask(app, "/api/machine")


class Moving:
    """A target that is another machine at each look."""

    def __init__(self, machine):
        self.machine = machine
        self.count = 0
        self.lost = False

    def look(self):
        self.count += 1
        if self.lost:
            raise SourceLost("the guest has ended")
        return self.machine


@pytest.fixture
def moving(looks, monkeypatch):
    monkeypatch.setattr(looks_room, "LEAST_PAUSE", 0.0)
    monkeypatch.setattr(looks_room, "SHARE", 0)
    return Moving(looks.now().machine)


def test_what_moves_is_looked_at_anew_with_the_next_number(moving):
    several = Looks(Target("moving", moving.look, live=True), moves=True)
    assert [several.now().generation for _ in range(3)] == [2, 3, 4]
    assert moving.count == 4


def test_what_was_remarked_of_an_earlier_look_is_not_said_of_a_later_one(moving):
    target = Target("moving", moving.look, live=True)
    several = Looks(target, moves=True)
    target.remarks.append("the kernel has not made its page table yet")
    several.now()
    assert several.remarks == []


def test_a_look_is_kept_for_a_while_and_for_longer_when_it_took_long(moving, monkeypatch):
    monkeypatch.setattr(looks_room, "LEAST_PAUSE", 3600.0)
    several = Looks(Target("moving", moving.look, live=True), moves=True)
    assert [several.now().generation for _ in range(3)] == [1, 1, 1]
    assert moving.count == 1
    monkeypatch.setattr(looks_room, "SHARE", 4)
    assert Looks._when_due(100.0, 2000.0) == 8100.0


def test_what_stands_still_is_looked_at_once(moving):
    once = Looks(Target("still", moving.look), moves=False)
    assert once.now() is once.now()
    assert moving.count == 1


def test_when_the_guest_ends_what_was_seen_last_stays_and_the_page_is_told(moving):
    several = Looks(Target("moving", moving.look, live=True), moves=True)
    app = make_app(several, "127.0.0.1", PORT, TOKEN)
    moving.lost = True
    found = api(app, "machine")
    assert (found["generation"], found["trouble"].split(";")[0]) == (1, "the guest has ended")
    assert "pagebook serve qemu" in found["trouble"]
    moving.lost = False
    assert api(app, "machine")["trouble"] == ""


def test_a_guest_that_is_started_again_is_looked_at_in_place_of_the_one_that_ended(moving):
    there = []

    def again():
        if not there:
            raise BadTarget("no QEMU is running; start one")
        return there[0]

    several = Looks(Target("first", moving.look, live=True), moves=True, again=again)
    app = make_app(several, "127.0.0.1", PORT, TOKEN)
    assert api(app, "changes")["changes"] == []
    moving.lost = True
    assert api(app, "machine")["trouble"] == f"the guest has ended; {looks_room.STARTED_AGAIN}"
    waiting = api(app, "machine")
    assert waiting["trouble"] == "the guest has ended; no QEMU is running; start one"
    assert waiting["target"] == "first"
    second = Moving(moving.machine)
    there.append(Target("second", second.look, live=True, remarks=["of the second"]))
    found = api(app, "machine")
    assert (found["trouble"], found["target"], found["remarks"]) == ("", "second", ["of the second"])
    assert found["generation"] > waiting["generation"]
    second.lost = True
    assert api(app, "machine")["trouble"].startswith("the guest has ended")


def test_a_space_that_is_gone_is_refused_with_the_reason_in_what_moves(app, moving):
    several = Looks(Target("moving", moving.look, live=True), moves=True)
    told = ask(make_app(several, "127.0.0.1", PORT, TOKEN), "/api/space", "name=gone").data["error"]
    assert told.endswith("; a process that has ended is gone with its tables")
    assert "ended" not in ask(app, "/api/space", "name=gone").data["error"]


def test_findings_of_what_moves_are_kept_for_seconds(moving):
    several = Looks(Target("moving", moving.look, live=True), moves=True)
    first, _ = several.report()
    assert several.report()[0] is first


def test_serve_without_its_libraries_says_what_to_install(monkeypatch):
    from pagebook.cli import hosting

    monkeypatch.setattr(hosting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadTarget, match="pip install starlette uvicorn"):
        hosting.host("xv6", {}, "127.0.0.1", 0, browser=False)


def test_the_page_is_in_the_package():
    assert (Path(looks_room.__file__).parent / "page" / "index.html").exists()
