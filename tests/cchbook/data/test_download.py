"""download against a server on this machine that drops connections, lies, and goes
away.
"""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cchbook.data.download import download, sha256_of, unpack

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`; `drops`: after how many bytes the next answers break off."""

    def __init__(self):
        self.content, self.drops, self.ranges, self.status = CONTENT, [], True, []
        self.etag, self.type, self.asked, self.length = (
            '"v1"',
            "application/octet-stream",
            [],
            True,
        )
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server: Server = self.server
        wanted, valid = self.headers.get("Range"), self.headers.get("If-Range")
        server.asked.append(wanted)
        if server.status:
            self.send_response(server.status.pop(0))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start = 0
        if wanted and server.ranges and valid in (None, server.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        total = len(server.content)
        if start >= total > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Type", server.type)
        self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        body = server.content[start:]
        self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server, path, **options):
    return download(server.url, path, **({"wait": 0.0, "timeout": 5.0} | options))


def leftovers(path):
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def test_the_whole_file_arrives(server, tmp_path):
    seen = []
    path = get(
        server,
        tmp_path / "deep" / "file.bin",
        sha256=SHA256,
        progress=lambda *at: seen.append(at),
    )
    assert path.read_bytes() == CONTENT
    assert leftovers(path) == []
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    get(server, tmp_path / "file.bin", sha256=SHA256)
    assert server.asked == []


def test_a_file_that_is_wrong_is_replaced(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"old")
    assert get(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_dropped_connection_goes_on_where_it_broke(server, tmp_path):
    server.drops = [400_000, 300_000]
    path = get(server, tmp_path / "file.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=400000-", "bytes=700000-"]


def test_more_drops_than_attempts_while_each_brings_something(server, tmp_path):
    server.drops = [100_000] * 9
    assert (
        get(server, tmp_path / "file.bin", sha256=SHA256, attempts=2).read_bytes()
        == CONTENT
    )


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.drops, server.ranges = [400_000], False
    assert get(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_file_that_changed_between_is_not_patched_together(server, tmp_path):
    server.drops = [400_000, 0, 0]
    with pytest.raises(ConnectionError):
        get(server, tmp_path / "file.bin", attempts=2)
    assert (tmp_path / "file.bin.part").stat().st_size == 400_000
    server.content, server.etag, server.drops = CONTENT[::-1], '"v2"', []
    assert get(server, tmp_path / "file.bin").read_bytes() == CONTENT[::-1]


def test_a_later_call_resumes(server, tmp_path):
    path = tmp_path / "file.bin"
    server.drops = [600_000, 0, 0]
    with pytest.raises(ConnectionError, match="in a row"):
        get(server, path, attempts=2)
    assert not path.exists()
    server.drops, server.asked = [], []
    assert get(server, path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == ["bytes=600000-"]
    assert leftovers(path) == []


def test_what_an_earlier_call_left_may_be_all_of_it(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert get(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "rubbish", [b"x" * 500_000, b"x" * (len(CONTENT) + 10), b"x" * len(CONTENT)]
)
def test_rubbish_that_an_earlier_call_left_is_thrown_away(server, tmp_path, rubbish):
    (tmp_path / "file.bin.part").write_bytes(rubbish)
    assert get(server, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=f"expected {'0' * 64} but got {SHA256}"):
        get(server, tmp_path / "file.bin", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_the_mirror_steps_in(server, tmp_path):
    with Server() as liar:
        liar.content = b"something else"
        thread = threading.Thread(
            target=liar.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        path = download(
            [liar.url, server.url], tmp_path / "file.bin", sha256=SHA256, wait=0.0
        )
        liar.shutdown()
        thread.join()
    assert path.read_bytes() == CONTENT


def test_a_server_that_goes_away(tmp_path):
    with Server() as server:
        url = server.url  # bound, never answering; closed on leaving
    with pytest.raises(ConnectionError, match="failed 2 times in a row"):
        download(url, tmp_path / "file.bin", attempts=2, wait=0.0, timeout=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_says_nothing(tmp_path):
    with Server() as server, pytest.raises(ConnectionError, match="timed out"):
        download(server.url, tmp_path / "file.bin", attempts=1, timeout=0.2)


def test_busy_is_tried_again_and_not_found_is_not(server, tmp_path):
    server.status = [503, 429]
    assert get(server, tmp_path / "file.bin").read_bytes() == CONTENT
    server.status, server.asked = [404], []
    with pytest.raises(ConnectionError, match="answered 404"):
        get(server, tmp_path / "other.bin")
    assert len(server.asked) == 1


def test_a_web_page_is_no_data(server, tmp_path):
    server.type = "text/html; charset=utf-8"
    with pytest.raises(ValueError, match="web page"):
        get(server, tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_no_address(tmp_path):
    with pytest.raises(ValueError, match="urls"):
        download([], tmp_path / "file.bin")


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "archive.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (
            ("top/a.jpg", b"aaa"),
            ("top/b.jpg", b"bb"),
            ("../evil", b"x"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_unpack_takes_what_is_wanted_and_nothing_else(archive, tmp_path):
    target = tmp_path / "images" / "a.jpg"
    unpack(archive, {"top/a.jpg": target}, {target: hashlib.sha256(b"aaa").hexdigest()})
    assert (
        target.read_bytes() == b"aaa"
        and sha256_of(target) == hashlib.sha256(b"aaa").hexdigest()
    )
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "a.jpg",
        "archive.tgz",
    ]


def test_unpack_refuses_another_content(archive, tmp_path):
    target = tmp_path / "images" / "a.jpg"
    with pytest.raises(ValueError, match="top/a.jpg.*another checksum"):
        unpack(archive, {"top/a.jpg": target}, {target: "0" * 64})
    assert (
        not target.parent.exists() and not archive.exists()
    )  # fetching again brings it anew


def test_unpack_misses_none(archive, tmp_path):
    target = tmp_path / "images" / "c.jpg"
    with pytest.raises(ValueError, match="lacks 1 of 1"):
        unpack(archive, {"top/c.jpg": target}, {target: "0" * 64})


@pytest.mark.parametrize("content", [b"", b"garbage", "half"])
def test_a_broken_archive_is_said_and_removed(archive, tmp_path, content):
    archive.write_bytes(archive.read_bytes()[:60] if content == "half" else content)
    with pytest.raises(ValueError, match="not the archive that was published"):
        unpack(
            archive, {"top/a.jpg": tmp_path / "a.jpg"}, {tmp_path / "a.jpg": "0" * 64}
        )
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_bring_one_whole_file(server, tmp_path):
    path, failed = tmp_path / "file.bin", []

    def fetch():
        try:
            download(server.url, path)
        except Exception as error:
            failed.append(error)

    both = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert (
        failed == []
        and path.read_bytes() == CONTENT
        and [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    )
    assert len(server.asked) == 1
