"""The page by keyboard and by names, and as one likes to see it."""

from pathlib import Path
from typing import Any

SAID = "I am so happy to see you, this is wonderful!"


def test_the_keyboard_alone_records_and_predicts(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    for _ in range(10):
        page.press(Keys.TAB)
        if page.active().get_attribute("id") == "record-sound":
            break
    page.press(Keys.ENTER)
    page.until(lambda: page.active().get_attribute("id") == "stop")
    page.until(lambda: page.by("timer").text == "0:02")
    page.press(Keys.ENTER)
    page.until(lambda: page.active().get_attribute("id") == "predict")
    page.press(Keys.ENTER)
    page.result()
    page.until(lambda: page.active().get_attribute("id") == "name")


def test_the_keyboard_alone_is_enough(page: Any, example_clip: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page.by("file").send_keys(str(example_clip))  # the system's own dialogue cannot be driven
    page.run("document.getElementById('file').focus()")
    reached = []
    for _ in range(40):
        page.press(Keys.TAB)
        active = page.active()
        reached.append(active.get_attribute("id"))
        outline = page.run("return getComputedStyle(arguments[0]).outlineStyle", active)
        assert outline != "none" or active.get_attribute("type") == "file", reached  # its label has the outline
        if reached[-1] == "predict":
            break
    assert reached[-1] == "predict"
    assert {"words", "record-sound", "clear"} <= set(reached)
    page.press(Keys.ENTER)
    page.result()
    assert page.active().get_attribute("id") == "name"
    page.press(Keys.ARROW_RIGHT)
    assert "1 of 1" in page.by("details").text


def test_every_control_has_a_name_and_can_be_hit(page: Any, example_clip: Path) -> None:
    page.upload(example_clip, SAID)
    page.by("edit").click()
    script = """
    const controls = "button, a, input, select, textarea, progress, summary, [role=slider], [role=meter]";
    const seen = [...document.querySelectorAll(controls)].filter((e) => e.getClientRects().length);
    const referred = (e) => (e.getAttribute("aria-labelledby") || "").split(" ");
    const names = (e) => [e.getAttribute("aria-label"), ...[...(e.labels ?? [])].map((l) => l.textContent),
      ...referred(e).map((id) => document.getElementById(id)?.textContent), e.textContent];
    const nameless = seen.filter((e) => !names(e).join("").trim());
    const box = (e) => e.getBoundingClientRect();
    const inline = ".visually-hidden, .skip, label.check *, p *, td *, .words *, summary";
    const apart = seen.filter((e) => !e.matches(inline));
    const small = apart.filter((e) => Math.min(box(e).width, box(e).height) < 24);
    return [nameless, small].map((list) => list.map((e) => e.outerHTML));
    """
    nameless, small = page.run(script)
    assert nameless == []
    assert small == []
    assert page.run("return document.documentElement.lang") == "en"


def test_the_theme_outlasts_the_page(page: Any, server: Any) -> None:
    theme = "return document.documentElement.dataset.theme"
    page.by("theme").click()
    page.by("theme").click()
    assert page.run(theme) == "dark"
    page.driver.get(server.url)
    page.until(lambda: page.run(theme) == "dark")
    page.by("theme").click()
    assert page.by("theme").text == "Theme: auto"
