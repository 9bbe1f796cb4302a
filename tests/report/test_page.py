import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from skyreels_platform.errors import LedgerError
from skyreels_platform.recipe import Recipe, load_recipe
from skyreels_platform.report import pictures
from skyreels_platform.report.page import build_report
from skyreels_platform.report.sections import pixel_check
from tests.report.small_home import BASE, CHECK, FILM, FORCED, HOSTILE, SNAPSHOT, SmallHome

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """A page taken apart; raises on a tag that closes nothing or is never closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.raw = text
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r" ([:,;])", r"\1", re.sub(r"\s+", " ", " ".join(self.words)))

    def with_attribute(self, name: str) -> list[dict[str, str]]:
        return [attributes for _, attributes in self.tags if name in attributes]

    @property
    def steps(self) -> dict[str, int]:
        return {item["data-step"]: int(item["data-count"]) for item in self.with_attribute("data-step")}

    @property
    def badge(self) -> str:
        (item,) = self.with_attribute("data-check")
        return item["data-check"]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("laptop")


def built(small: SmallHome, recipe: Recipe, name: str = "report.html") -> Page:
    out = build_report(small.home, recipe, film_id=FILM, out=small.root / "reports" / name)
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(shared: SmallHome, recipe: Recipe) -> Page:
    return built(shared, recipe)


def test_nothing_is_loaded_and_nothing_can_run(page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "poster"):
                assert value.startswith(("data:image/jpeg;base64,", "data:video/mp4;base64,", "#")), value[:60]
    assert set(re.findall(r"url\((.)", page.raw)) <= {"#"}
    assert "@import" not in page.raw
    assert len(page.raw) < 6_000_000


def test_the_headline_names_what_went_in_and_what_came_out(page: Page, tmp_path: Path) -> None:
    assert "4 files, 8.0 s of footage (0.002 h)" in page.text
    assert "a red circle moves <b>right</b> & on" in page.text
    for fact in (FILM, FORCED, "(diffusion_forcing)", "num_steps 20, shift 3.0", "3 windows"):
        assert fact in page.text
    (video,) = [attributes for tag, attributes in page.tags if tag == "video"]
    assert {"loop", "muted", "autoplay", "controls"} <= video.keys()
    file = tmp_path / "embedded.mp4"
    file.write_bytes(base64.b64decode(video["src"].partition(",")[2]))
    assert len(pictures.film_frames(file)[0]) == pictures.NUM_FILM_FRAMES
    assert sum(item.get("alt", "").startswith("film frame") for item in page.with_attribute("src")) == pictures.NUM_FILM_FRAMES


def test_the_badge_carries_the_pixel_check(page: Page) -> None:
    assert page.badge == "pass"
    assert CHECK in page.text


def test_the_funnel_counts_what_each_step_keeps(page: Page) -> None:
    assert page.steps == {
        "Files handed in": 4, "Sources ready": 2, "Shots": 4, "Scored": 4, "Captioned": 3, "Pass pool 256p": 1, "In the snapshot": 1,
        "Seen in training": 1,
    }  # fmt: skip
    assert f"snapshot {SNAPSHOT}: 2 clips, 1.5 s" in page.text
    assert "80 clips in all optimizer steps" in page.text


def test_every_loss_comes_with_its_reason(page: Page) -> None:
    for reason in (
        "song<i>.mp3: audio only & no picture", "the same content as an earlier file", "late.mp4: damaged beyond 5 %",
        "failed: nothing to see 1", "-2 rejected by the recipe's bounds: black > max 1, luma < min 1, static > max 1",
        "-1 held for review: motion unknown 1", "1 of 2 gates let no shot of their batch pass",
        "b000002, captions: 1 of 9 shots have a caption",
    ):  # fmt: skip
        assert reason in page.text
    assert re.search(r"360p 0 4 0 luma < min 4", page.text)
    assert re.search(r"540p 0 0 0 not judged yet", page.text)
    assert re.search(r"balanced 0 1 0 Shapes 1", page.text)


def test_shots_are_shown_with_captions_and_all_reasons(page: Page) -> None:
    tiles = [item for item in page.with_attribute("alt") if item["alt"].startswith("middle frame")]
    assert len(tiles) == len(page.with_attribute("data-shot")) == 4
    assert "caption 0 of <shot>" in page.text
    for reason in ("black 1 > max 0.2 (share of frames)", "luma 0 < min 0.05 (0 to 1)", "static 1 > max 0.8 (share of pairs)",
                   "motion unknown -> review: no <texture> to follow"):  # fmt: skip
        assert reason in page.text


def test_hostile_names_stay_text(page: Page) -> None:
    assert "<script" not in page.raw
    assert HOSTILE in page.text
    assert "$x^{<i>$" in page.text


def test_plots_have_their_numbers_in_words(page: Page) -> None:
    for caption in (
        "black (share of frames), 4 shots; max 0.2", "motion (heights/s), 3 shots; min 0.003, max 4; 1 unknown",
        "pretrain_256p: loss 1.000 at step 0", "diffusion_forcing: loss 1.000 at step 0",
    ):  # fmt: skip
        assert caption in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 1 + 1 + 3 + 2 + 2


def test_the_lineage_reaches_the_source_file(page: Page) -> None:
    section = page.text[page.text.index("Lineage of the film") :]
    order = [section.index(word) for word in (FILM, FORCED, BASE)]
    assert order == sorted(order)
    assert "depends on 2 checkpoints, 1 shot and 1 source file." in section
    assert section.count(SNAPSHOT) == 2
    assert "seen 40 times, from source" in section


def test_the_end_says_where_things_lie_and_how_to_go_on(page: Page, recipe: Recipe) -> None:
    for text in (recipe.hash(), "laptop", f"skyreels trace {FILM}", "make ui", f"checkpoints/pretrain_256p/{BASE}"):
        assert text in page.text
    assert re.search(r"skyreels inspect '/\S*/footage/\"><script>alert\(1\)\.mp4'", page.text)  # quoted for a shell


def test_a_second_build_gives_the_same_bytes(shared: SmallHome, page: Page, recipe: Recipe) -> None:
    assert built(shared, recipe, "again.html").raw == page.raw
    assert {path.suffix for path in (shared.root / "reports").iterdir()} == {".html"}  # no temporary name is left


def test_what_is_missing_becomes_a_sentence(small: SmallHome, recipe: Recipe) -> None:
    small.footage.unlink()
    small.home.store.delete(f"films/{FILM}.mp4")
    small.home.store.delete(f"checkpoints/pretrain_256p/{BASE}/losses.jsonl")
    small.home.store.write_bytes(f"checkpoints/diffusion_forcing/{FORCED}/losses.jsonl", b'{"step": 1}\n')
    small.judge("256p", [("pass", [])] * 4)
    small.set_film({})
    page = built(small, recipe)
    assert page.badge == "not_applicable"
    assert "holds no pixel check" in page.text
    assert "The film is not embedded:" in page.text
    assert "No film frames:" in page.text
    assert "video" not in {tag for tag, _ in page.tags}
    assert page.text.count("no such file: moved or deleted") == 4
    assert "pretrain_256p: no loss curve" in page.text
    assert "diffusion_forcing: the losses cannot be read: KeyError: 'loss'" in page.text
    assert re.search(r"Rejected by pool 256p or held for review none", page.text)


def test_a_page_without_any_footage_left_in_the_ledger(small: SmallHome, recipe: Recipe) -> None:
    for table, partition in (
        ("shots", "b000001"), ("scores", "b000001"), ("captions", "b000001"), ("verdicts", "256p"), ("sources", "b000001"),
        ("files", "b000001"), ("failures", "b000001/shots"), ("snapshot_clips", SNAPSHOT), ("seen", BASE), ("seen", FORCED),
    ):  # fmt: skip
        small.replace(table, partition, [])
    page = built(small, recipe)
    assert set(page.steps.values()) == {0}
    for sentence in ("No durations", "No concepts", "No shot has been scored yet", "skyreels inspect FILE"):
        assert sentence in page.text


@pytest.mark.parametrize(("check", "outcome"), [
    ({"outcome": "fail", "text": "the pixels show a <blue> square"}, "fail"),
    ({"outcome": "not_applicable", "text": "no coloured shape"}, "not_applicable"),
    ({"outcome": "\"><script>"}, "not_applicable"),
    ("pass", "not_applicable"),
])  # fmt: skip
def test_other_badges(check: object, outcome: str) -> None:
    assert pixel_check(json.dumps({"check": check}))[0] == outcome


def test_a_broken_manifest_is_no_check() -> None:
    for text in (None, "", "{", "[]", "3"):
        assert pixel_check(text)[0] == "not_applicable"


def test_a_large_film_stays_beside_the_page(shared: SmallHome, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FILM_BYTES", 100)
    page = built(shared, recipe, "large.html")
    assert re.search(r"The film is not embedded: 0\.0 MiB, see \S+/films/" + FILM, page.text)
    assert any(item["alt"] == "film frame 1" for item in page.with_attribute("alt"))


def test_a_film_that_the_ledger_does_not_know(shared: SmallHome, recipe: Recipe) -> None:
    with pytest.raises(LedgerError, match="film_nothing"):
        build_report(shared.home, recipe, film_id="film_nothing", out=shared.root / "nothing.html")
    assert not (shared.root / "nothing.html").exists()
