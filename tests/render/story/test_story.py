"""The replay: complete without its script, in both languages, and deaf to what it tells of."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path

import pytest

from b2dinspect.provisioning import door, lessons, login, pipeline
from b2dinspect.provisioning.events import Event, Finished, Started
from b2dinspect.provisioning.host import host
from b2dinspect.provisioning.pipeline import provision
from b2dinspect.provisioning.simulated import simulate
from b2dinspect.provisioning.stages import Stage
from b2dinspect.provisioning.story import gather, recorded
from b2dinspect.render.events import event_json
from b2dinspect.render.story import page, player, words
from tests.axe import browsed, faults
from tests.doctor.test_report import Checker
from tests.oracles import needs
from tests.provisioning.plans import plan


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return list(provision(plan(tmp_path_factory.mktemp("machines"), decodes=True, fault="truncated-key")))


@pytest.fixture(scope="module")
def told(events: list[Event]) -> str:
    return page(gather(recorded(map(event_json, events))))


def test_it_is_whole_without_its_script(told: str, events: list[Event]) -> None:
    checker = Checker()
    checker.feed(told)
    assert checker.open == []
    assert told.count("<script>") == 1
    assert player.SCRIPT in told
    assert not checker.tags & {"img", "link", "iframe", "object", "base", "form"}
    assert not any(name.startswith("on") or name in ("src", "action") for name in checker.attributes)
    for started in (one for one in events if isinstance(one, Started)):
        assert started.sentence in checker.text
        assert started.command in checker.text


def test_every_link_leads_somewhere(told: str) -> None:
    targets = set(re.findall(r'id="([^"]*)"', told))
    assert {name[1:] for name in re.findall(r'href="([^"]*)"', told)} <= targets
    assert all(name.startswith("#") for name in re.findall(r'href="([^"]*)"', told))


def test_it_says_where_the_login_dies(told: str) -> None:
    verdict = told[told.index('<p class="verdict') : told.index("<nav")]
    assert "The login dies here" in verdict
    assert "Permission denied" in verdict
    assert told.count('class="scene host failed"') == 1


def test_the_same_page_from_the_same_events(told: str, events: list[Event]) -> None:
    assert page(gather(recorded(map(event_json, events)))) == told


def test_a_language_first(events: list[Event], told: str) -> None:
    chinese = page(gather(events), "zh")
    assert '<html lang="zh-Hans">' in chinese
    assert '<html lang="en">' in told
    assert "登录在这里失败" in told


def test_every_stage_is_told_in_both_languages() -> None:
    pipeline._second_boot(lambda state: iter(()))  # type: ignore[arg-type, return-value]
    assert {door, lessons, login, host, simulate}
    known = {one.id for one in gc.get_objects() if type(one) is Stage}
    assert len(known) > 25
    assert known - {"second-boot"} <= set(words._known()["stages"])
    for name, one in words._known()["words"].items():
        assert set(one) == {"en", "zh"}, name


def test_what_was_broken_off_says_so() -> None:
    broken = page(gather([Started(1, "key", "host", "Make a key.", "")]))
    assert "it never ended" in broken
    assert "The login dies here" in broken
    assert "Broken off" in page(gather([]))


def test_a_stage_without_a_chinese_sentence_is_told_in_english() -> None:
    assert "Dance." in page(gather([Started(1, "dance", "guest", "Dance.", "")]))


def test_a_long_console_is_cut(events: list[Event]) -> None:
    started, *rest = events
    lines = [json.dumps({"schema_version": 1, "event": "console", "text": f"line {i}"}) for i in range(300)]
    long = page(gather([started, *recorded(lines), *rest]))
    assert "line 199<" in long
    assert "line 200<" not in long
    assert "… +10" in long


def test_no_key_is_shown(told: str, events: list[Event]) -> None:
    assert isinstance(events[-1], Finished)
    private = (Path(events[-1].folder) / "id_rsa").read_text()
    assert "PRIVATE KEY" not in told
    assert private.splitlines()[1] not in told


@needs("chromium")
@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1280])
def test_a_browser_plays_it_without_complaint(told: str, width: int, tmp_path: Path) -> None:
    asked = """
      const press = key => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
      const now = () => document.querySelector(".scene.now").id;
      const seen = [now()];
      press("ArrowRight"); seen.push(now());
      press(" "); seen.push(now());
      press("ArrowLeft"); seen.push(now());
      press("End"); seen.push(now());
      press("Home"); seen.push(now());
      document.querySelector("[data-language=zh-Hans]").click();
      seen.push(document.documentElement.lang);
      document.querySelector("[data-go=play]").click();
      seen.push(document.querySelector("[data-go=play]").getAttribute("aria-pressed"));
      document.querySelector("[data-go=all]").click();
      seen.push(String([...document.querySelectorAll(".scene")].every(one => one.offsetHeight > 0)));
      seen.push(String(document.documentElement.scrollWidth <= innerWidth));
      return seen;
    """
    last = f"stage-{told.count('<section')}"
    order = ["stage-1", "stage-2", "stage-3", "stage-2", last, "stage-1", "zh-Hans", "true", "true", "true"]
    assert browsed(told, asked, tmp_path, width) == order


@needs("chromium")
@pytest.mark.slow
def test_axe_finds_no_fault(events: list[Event], tmp_path: Path) -> None:
    story = gather(events)
    few = [one for one in story.scenes if one.started.id in ("disk", "swap", "login")]
    assert faults(page(story._replace(scenes=tuple(few))), tmp_path) == []
