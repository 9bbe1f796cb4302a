"""The parts of the page on their own: markup, plots, chosen pictures."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from skyreels_platform.ledger.trace import Node
from skyreels_platform.recipe import Bound
from skyreels_platform.report import pictures
from skyreels_platform.report.funnel import read_steps
from skyreels_platform.report.lineage import lineage_section
from skyreels_platform.report.markup import Html, html, join, listing, shorten
from skyreels_platform.report.plots import concept_plot, coverage_plot, duration_plot, loss_plot, running_mean, score_plot
from tests.report.small_home import BASE, SNAPSHOT, SmallHome


def svg(plot: Html) -> ElementTree.Element:
    return ElementTree.fromstring(plot[plot.index("<svg") : plot.index("</svg>") + 6])


def test_values_are_escaped_unless_they_are_markup() -> None:
    assert html("<i>{a}{b}{c}</i>", a="<&\"'>", b=Html("<b>"), c=None) == "<i>&lt;&amp;&quot;&#x27;&gt;<b></i>"
    assert html("{a}", a=["<", Html("<br>"), 3]) == "&lt;<br>3"
    assert join(["<", Html("<br>")], " & ") == "&lt; &amp; <br>"


def test_a_value_with_braces_is_not_a_template() -> None:
    assert html("{a}", a="{b}{0}{a.__class__}") == "{b}{0}{a.__class__}"


def test_characters_that_hide_a_name_are_shown_as_such() -> None:
    assert html("{a}", a="cat\u202egpj.exe\x00\ud800") == "cat\ufffdgpj.exe\ufffd\ufffd"


def test_lists_say_what_they_leave_out() -> None:
    items = [html("{n}", n=n) for n in range(5)]
    assert listing(items, limit=3, unit="files").count("<li") == 4
    assert "and 2 more files" in listing(items, limit=3, unit="files")
    assert "more" not in listing(items, limit=5, unit="files")
    assert shorten("x" * 10, 6) == "xxx..."


def test_plots_are_parts_of_a_page_in_its_colours() -> None:
    plots = [
        duration_plot([1.0, 2.0, 2.1], [0.2]), concept_plot({"Human": 3, "$x^{$ <i>": 1}, {"Human": 2}),
        score_plot([0.1, 0.4, 0.5], Bound(min=0.2)), loss_plot([0, 1, 2], [3.0, 2.0, 1.0]), coverage_plot([0.0, 0.2], 1e-3),
    ]  # fmt: skip
    for plot in plots:
        assert svg(plot).get("viewBox")
        assert "width" not in svg(plot).attrib
        assert "var(--kept)" in plot
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot)) <= {
            "none", "var(--ink)", "var(--line)", "var(--mute)", "var(--kept)", "var(--out)",
        }  # fmt: skip
        assert "<style" not in plot
        assert "<?xml" not in plot
    assert "$x^{$ &lt;i&gt;" in plots[1]
    assert duration_plot([1.0, 2.0, 2.1], [0.2]) == plots[0]


def test_ids_of_two_plots_on_one_page_do_not_collide() -> None:
    plots = [score_plot([1.0, 2.0], None), duration_plot([1.0], [2.0]), loss_plot([0, 1], [1.0, 2.0]), coverage_plot([0.1, 0.0], 1e-3)]
    shapes: dict[str, str] = {}
    for plot in plots:
        for element in svg(plot).iter():
            if name := element.get("id"):
                shape = ElementTree.tostring(element, encoding="unicode")
                assert shapes.setdefault(name, shape) == shape


def test_limits_near_the_values_are_drawn_and_distant_ones_are_not() -> None:
    values = [0.1, 0.2, 0.3]
    assert "stroke-dasharray" in score_plot(values, Bound(max=0.25))
    assert "stroke-dasharray" in score_plot(values, Bound(min=0.05))
    assert "stroke-dasharray" not in score_plot(values, Bound(max=4.0))
    assert "stroke-dasharray" not in score_plot(values, None)


def test_rare_concepts_are_one_bar() -> None:
    counts = {f"kind{number:02d}": 30 - number for number in range(20)}
    plot = concept_plot(counts, counts)
    assert "4 others" in plot
    assert "kind15" in plot
    assert "kind16" not in plot


def test_letters_that_the_plot_library_lacks_are_left_to_the_browser() -> None:
    assert "人物" in concept_plot({"人物": 2}, {})


def test_a_long_curve_stays_small() -> None:
    steps = range(50_000)
    assert len(loss_plot(steps, list(np.cos(np.arange(50_000))))) < 200_000


def test_running_mean() -> None:
    assert np.allclose(running_mean([2.0] * 100), 2.0)
    assert np.allclose(running_mean([0.0, 3.0, 6.0]), [1.5, 3.0, 4.5])
    assert np.allclose(running_mean([1.0, float("nan"), 3.0, float("inf")]), [1.0, 2.0, 3.0, 3.0])
    ramp = np.arange(200.0)
    assert np.allclose(running_mean(ramp.tolist())[5:-5], ramp[5:-5])


def test_the_choice_of_pictures_depends_on_the_shots_alone() -> None:
    shots = [{"shot_id": f"shot_{number}"} for number in range(100)]
    chosen = pictures.choose(shots)
    assert len(chosen) == pictures.NUM_TILES
    assert [row["shot_id"] for row in pictures.choose(shots[::-1])] == [row["shot_id"] for row in chosen[::-1]]
    assert chosen != shots[: pictures.NUM_TILES]
    assert pictures.choose(shots[:3]) == shots[:3]


def test_tiles_show_the_middle_of_their_shot(shared: SmallHome) -> None:
    from io import BytesIO

    from PIL import Image

    tiles = pictures.tiles_of(shared.home, pictures.shots_under(shared.home, "256p"))
    images = [np.asarray(Image.open(BytesIO(tile.jpeg))) for tile in tiles if tile.jpeg]
    assert [image.shape for image in images] == [(64, 96, 3)] * 4
    assert images[1].max() < 12  # the black scene
    for image, channel in ((images[0], 0), (images[2], 2), (images[3], 1)):  # red, blue and green subjects
        centre = image[24:40, 32:64].reshape(-1, 3).mean(axis=0)
        assert centre.argmax() == channel


def test_one_bad_frame_costs_one_tile(shared: SmallHome) -> None:
    found = pictures.read_pictures(str(shared.footage), [0, 10_000, 95], (48, 32))
    assert [isinstance(picture, bytes) for picture in found] == [True, False, True]
    assert "10000" in str(found[1])


def test_a_long_line_of_shots_is_cut_but_keeps_the_parent_checkpoint() -> None:
    source = Node(kind="source", id="src_1", label="/x/a.mp4")
    shots = tuple(Node(kind="shot", id=f"shot_{number}", label="s", children=(source,)) for number in range(100))
    parent = Node(kind="checkpoint", id="ckpt_parent", label="p")
    film = Node(kind="film", id="film_1", label="f", children=(Node(kind="checkpoint", id="ckpt_1", label="c", children=(*shots, parent)),))
    section = lineage_section(film)
    assert "ckpt_parent" in section
    assert len(re.findall(r"shot_\d+", section)) == 39
    assert "and 61 more" in section
    assert "2 checkpoints, 100 shots and 1 source file." in section


def test_shots_that_passed_but_are_not_in_the_snapshot_are_explained(small: SmallHome) -> None:
    def last(**excluded: str) -> dict[str, int]:
        small.merge("snapshots", {"snapshot_id": SNAPSHOT, "dataset": "dataset_256p", "excluded": json.dumps(excluded)})
        steps = read_steps(small.home.ledger, stage="256p", snapshot_id=SNAPSHOT, checkpoint_ids=[BASE])
        (step,) = [step for step in steps if step.title == "In the snapshot"]
        return {f"{drop.text} {list(drop.reasons)}": drop.count for drop in step.drops}

    small.judge("256p", [("pass", [])] * 4)
    assert last() == {
        "without a usable caption []": 1, "no clip of this length and rate fits, or passed only after the freeze []": 2,
    }  # fmt: skip
    assert last(b000001="shots: 3 lost") == {"in batches that a gate holds back ['b000001: shots: 3 lost']": 3}


def test_a_checkpoint_without_snapshot_ends_the_funnel_at_the_pool(small: SmallHome) -> None:
    steps = read_steps(small.home.ledger, stage="256p", snapshot_id=None, checkpoint_ids=[])
    assert steps[-1].title == "Pass pool 256p"
