"""What is recorded in the page, by microphone and camera."""

from typing import Any


def test_a_recording_becomes_a_result(page: Any) -> None:
    page.by("record-sound").click()
    page.until(lambda: page.by("timer").text == "0:03")
    page.until(lambda: int(page.by("level").get_attribute("aria-valuenow")) > 0)
    page.picture("recording")
    page.by("stop").click()
    page.until(lambda: page.by("chosen").is_displayed())
    assert page.by("chosen-name").text.endswith(".webm")
    page.by("predict").click()
    page.result()
    assert page.by("name").text.startswith("recording")
    assert page.find_all(".block")
    assert page.find("#player audio")
    page.until(lambda: 2 < (page.run("return document.querySelector('audio').duration") or 0) < 20)


def test_a_recording_of_the_camera_is_played_and_can_be_saved(page: Any) -> None:
    page.by("record-video").click()
    page.until(lambda: page.by("timer").text == "0:02")
    page.by("predict").click()  # ends the recording, too
    page.result()
    video = page.find("#player video")
    page.until(lambda: video.get_property("videoWidth") == 640)
    page.by("save").click()
    assert page.until(lambda: list(page.downloads.glob("recording *.webm")))


def test_a_microphone_that_is_not_allowed_is_said(page: Any) -> None:
    page.run("""navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException("", "NotAllowedError"))""")
    page.by("record-sound").click()
    assert "The microphone may not be used: allow it" in page.until(lambda: page.by("error").text)
    assert page.by("drop").is_displayed()


def test_a_discarded_recording_is_gone(page: Any) -> None:
    page.by("record-video").click()
    page.until(lambda: page.by("camera").is_displayed())
    page.by("discard").click()
    page.until(lambda: page.by("drop").is_displayed())
    assert not page.by("chosen").is_displayed()
