"""The verb serve as a user runs it: a real socket, the link, the refusals, and its end."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from contextlib import nullcontext

import pytest

from pagebook.cli import hosting
from pagebook.errors import BadTarget
from pagebook.examples import rules_machine
from pagebook.targets import ModelOptions, Target, opened
from pagebook.web import looks as looks_room
from pagebook.web import serving
from pagebook.web.looks import Looks
from test_web import Moving

MODEL = {"ram": 4 << 20, "nproc": 8}


@pytest.fixture(scope="module")
def server():
    """``pagebook serve`` and its link; ended by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pagebook", "serve", "--no-browser", "--ram", "4M", "--nproc", "8"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    link = urllib.parse.urlsplit(process.stdout.readline().strip())
    yield process, link
    if process.poll() is None:
        process.kill()
        process.communicate()


def ask(link, path, method="GET", **headers):
    connection = http.client.HTTPConnection(link.hostname, link.port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_link_is_of_the_loopback_and_has_the_token_in_its_fragment(server):
    _, link = server
    assert (link.scheme, link.hostname, link.path, link.query) == ("http", "127.0.0.1", "/", "")
    assert len(urllib.parse.parse_qs(link.fragment)["token"][0]) >= 32


def test_over_a_socket_the_right_request_is_answered_and_wrong_ones_are_refused(server):
    _, link = server
    token = {"Authorization": f"Bearer {urllib.parse.parse_qs(link.fragment)['token'][0]}"}
    status, headers, body = ask(link, "/api/machine", **token)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert b'"name":"xv6 (2024)"' in body
    assert "server" not in {name.lower() for name in headers}
    assert ask(link, "/")[0] == 200
    assert ask(link, "/api/machine")[0] == 401
    assert ask(link, "/api/machine", Host="evil.example", **token)[0] == 403
    assert ask(link, "/api/machine", Origin="http://evil.example", **token)[0] == 403
    assert ask(link, "/api/machine", "POST", **token)[0] == 405
    assert ask(link, "/../../etc/passwd")[0] == 404
    assert ask(link, "/%2e%2e/app.py")[0] == 404
    assert ask(link, f"/api/search?q={'a' * 2100}", **token)[0] == 414


def test_what_is_no_request_at_all_ends_the_connection_and_not_the_server(server):
    _, link = server
    with socket.create_connection((link.hostname, link.port), timeout=60) as raw:
        raw.sendall(b"\x16\x03\x01 no http \r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.1 400")
    assert ask(link, "/")[0] == 200


def test_ctrl_c_ends_it_at_once_with_status_0_and_the_port_is_free(server):
    process, link = server
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said == "pagebook: Ctrl-C ends it\n"
    with serving.listen("127.0.0.1", link.port) as again:
        assert again.getsockname()[1] == link.port


def test_a_port_in_use_and_a_host_that_is_none_are_refused_in_a_sentence():
    refused = r"cannot listen on 127\.0\.0\.1 port \d+: .*--port 0, the default"
    with serving.listen("127.0.0.1", 0) as taken, pytest.raises(BadTarget, match=refused):
        serving.listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(BadTarget, match="--host takes an address of this computer"):
        serving.listen("my.example", 0)
    with pytest.raises(BadTarget, match="cannot listen on 203"):
        serving.listen("203.0.113.7", 0)


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("127.0.0.1", "http://127.0.0.1:5/#token=t"),
        ("::1", "http://[::1]:5/#token=t"),
        ("0.0.0.0", "http://127.0.0.1:5/#token=t"),
        ("::", "http://[::1]:5/#token=t"),
    ],
)
def test_a_link_can_be_opened_whatever_is_listened_on(address, link):
    assert serving.link(address, 5, "t") == link


def test_every_run_has_a_token_of_its_own():
    links = []
    with opened("xv6", ModelOptions(**MODEL)) as target:
        looks = Looks(target, moves=False)
        for _ in range(2):
            with serving.listen("127.0.0.1", 0) as free, pytest.raises(KeyboardInterrupt):
                serving.serve(looks, free, lambda link: links.append(link) or stop())
    assert len({link.partition("#")[2] for link in links}) == 2


def stop():
    raise KeyboardInterrupt


def test_the_browser_is_opened_with_the_link_and_what_is_not_loopback_is_warned_of(monkeypatch, capsys):
    browsed = []
    monkeypatch.setattr(hosting.webbrowser, "open", lambda link: browsed.append(link) is None)
    monkeypatch.setattr(serving, "serve", lambda looks, listening, told: told("http://127.0.0.1:1/#token=t"))
    hosting.host("xv6", MODEL, "127.0.0.1", 0, browser=True)
    assert browsed == ["http://127.0.0.1:1/#token=t"]
    assert "warning" not in capsys.readouterr().err
    hosting.host("xv6", MODEL, "0.0.0.0", 0, browser=False)
    assert len(browsed) == 1
    assert "warning: with --host 0.0.0.0, who reaches this computer and knows the link" in capsys.readouterr().err


def test_without_a_browser_the_user_is_told_to_open_the_link(monkeypatch, capsys):
    monkeypatch.setattr(hosting.webbrowser, "open", lambda link: False)
    monkeypatch.setattr(serving, "serve", lambda looks, listening, told: told("http://127.0.0.1:1/#token=t"))
    hosting.host("xv6", MODEL, "127.0.0.1", 0, browser=True)
    assert "no browser could be opened; open the link in one" in capsys.readouterr().err


def test_only_the_guest_that_was_started_again_is_followed(monkeypatch):
    monkeypatch.setattr(looks_room, "LEAST_PAUSE", 0.0)
    monkeypatch.setattr(looks_room, "SHARE", 0)
    machine = rules_machine()
    guests = [Moving(machine) for _ in range(3)]
    names = ["/a/kernel", "/b/kernel", "/a/kernel"]
    targets = iter([Target("qemu", one.look, live=True, runs=name) for one, name in zip(guests, names, strict=True)])
    monkeypatch.setattr(hosting, "opened", lambda words, model: nullcontext(next(targets)))
    said = []

    def serve(looks, listening, told):
        guests[0].lost = True
        for _ in range(3):
            looks.now()
            said.append((looks.trouble, looks.target.look.__self__))

    monkeypatch.setattr(serving, "serve", serve)
    hosting.host("qemu", {}, "127.0.0.1", 0, browser=False)
    (_, first), (other, kept), (nothing, last) = said
    assert (first, kept, last) == (guests[0], guests[0], guests[2])
    assert "another, /b/kernel, and not /a/kernel; to see it, start 'pagebook serve qemu' again" in other
    assert nothing == ""


SLOW = """
import time
from pagebook.web import checking
checking.rule = lambda seen, query: time.sleep(4) or {}
from pagebook.cli import main
main()
"""


def test_ctrl_c_while_an_answer_is_being_made_says_nothing_of_it():
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "serve", "--no-browser", "--ram", "4M"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    link = urllib.parse.urlsplit(process.stdout.readline().strip())
    token = urllib.parse.parse_qs(link.fragment)["token"][0]
    with socket.create_connection((link.hostname, link.port), timeout=60) as raw:
        raw.sendall(f"GET /api/rule HTTP/1.1\r\nHost: {link.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said == "pagebook: Ctrl-C ends it\n"
