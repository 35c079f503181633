"""What the page says when something cannot be done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKEN = "a-token-for-these-tests"


def test_a_prediction_that_fails_leaves_the_last_result_as_it_was(
    page: Any, tmp_path: Path, example_clip: Path
) -> None:
    kept, broken = tmp_path / "kept.wav", tmp_path / "broken.wav"
    kept.write_bytes(example_clip.read_bytes())
    broken.write_bytes(b"no sound at all")
    page.upload(kept)
    page.by("file").send_keys(str(broken))
    page.by("predict").click()
    page.until(lambda: "broken.wav: not a media file" in page.by("error").text)
    page.find("[data-format=csv]").click()
    assert page.saved("kept.csv").startswith("source,")
    page.run("document.querySelector('audio').load()")  # its file is there still
    page.until(lambda: page.run("return document.querySelector('audio').readyState >= 1"))
    page.by("edit").click()  # corrects the words of the result, not of what has been chosen since
    page.by("line-0").send_keys("get out")
    page.by("line-0").submit()
    page.until(lambda: page.find_all("#details .quote"))
    assert page.by("name").text == "kept.wav"
    assert not page.by("error").is_displayed()


def test_a_busy_server_is_asked_again_and_can_be_left_alone(page: Any, server: Any, example_clip: Path) -> None:
    waiting = [server.state / "jobs" / f"upload-{i}" for i in range(100)]
    for folder in waiting:
        folder.mkdir()
    page.by("file").send_keys(str(example_clip))
    page.by("predict").click()
    page.until(lambda: page.by("doing-more").text.startswith("It is asked again in 5"))
    page.by("cancel").click()
    page.until(lambda: not page.by("working").is_displayed())
    for folder in waiting:
        folder.rmdir()
    page.forget_faults()  # its 503 is none
    page.by("predict").click()
    page.result()


def test_what_cannot_be_used_is_said(page: Any, tmp_path: Path) -> None:
    page.by("predict").click()
    assert "nothing to judge yet" in page.by("error").text
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound at all")
    page.by("file").send_keys(str(broken))
    page.by("predict").click()
    page.until(lambda: "broken.wav: not a media file" in page.by("error").text)
    assert not page.by("result").is_displayed()
    assert page.by("predict").get_attribute("aria-disabled") == "false"


def test_a_server_with_a_token_asks_for_it(
    page: Any, start_server: Callable[..., Any], tmp_path: Path, example_clip: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    guarded = start_server(tmp_path / "state", "--token-file", str(file), "--max-job-mb", "0.2")
    try:
        page.driver.get(guarded.url)
        page.until(lambda: page.by("token-dialog").is_displayed())
        page.by("token").send_keys("another-token-than-that", Keys.ENTER)
        page.until(lambda: page.by("token-refused").is_displayed())
        page.picture("token")
        page.by("token").send_keys(TOKEN, Keys.ENTER)
        page.until(lambda: not page.by("token-dialog").is_displayed())
        page.upload(example_clip)
        assert "Model: default" in page.by("facts").text
        large = tmp_path / "large.wav"
        large.write_bytes(bytes(300_000))
        page.by("file").send_keys(str(large))
        page.by("predict").click()
        assert "large.wav has 300 kB, and this server takes up to 200 kB" in page.by("error").text
    finally:
        guarded.stop()
        page.forget_faults()  # its 401 is none
