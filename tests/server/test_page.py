"""The page's files and the headers that they come with; what the page does is tested in a browser (tests/e2e)."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from emofuse.server.app import create_app
from emofuse.server.page import FILES
from emofuse.server.settings import MEGABYTE, ServerSettings


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """Of a server whose model is not loaded: the page needs none."""
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-that-nobody-sends")
    settings = ServerSettings(token_file=tokens, state=tmp_path, max_job_bytes=50 * MEGABYTE, max_job_s=5400)
    return TestClient(create_app(settings), base_url="http://localhost")


def test_the_page_needs_no_token_and_can_only_talk_to_its_server(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("/v1/models").status_code == 401


def test_all_that_the_page_asks_for_is_there(client: TestClient) -> None:
    content = client.get("/").text
    wanted = set(re.findall(r'(?:src|href)="page/([^"]+)"', content))
    for name in FILES:
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"]
        assert answer.headers["content-type"].split(";")[0] in ("text/css", "text/javascript")
        wanted |= set(re.findall(r'from "\./([^"]+)"', answer.text))
    assert wanted == set(FILES)


@pytest.mark.parametrize("name", ["page.py", "..%2fpage.py", "%2e%2e/app.py", "index.html", "viewer.html"])
def test_nothing_else_is_given_away(client: TestClient, name: str) -> None:
    assert client.get(f"/page/{name}").status_code in (401, 404)


def test_the_page_is_filled_in_and_names_each_thing_once(client: TestClient) -> None:
    content = client.get("/").text
    assert "{{" not in content
    assert "up to 50 MB and 90 minutes" in content
    assert 'data-max-bytes="50000000"' in content
    names: list[str] = []
    needed: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            names.extend(filter(None, [given.get("id")]))
            for key in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
                needed.update((given.get(key) or "").split())
            assert not [key for key in given if key.startswith("on") or key == "style"]  # the policy refuses both

    Reader().feed(content)
    assert len(names) == len(set(names))
    assert needed <= set(names)
    scripts = "".join(
        client.get(f"/page/{name}").text for name in FILES if name.endswith(".js") and "report" not in name
    )
    assert set(re.findall(r'\$\("([\w-]+)"\)', scripts)) - set(names) == {"line-0"}
