"""Bars and curves lie where their values say."""

from api.web.charts import (
    BOTTOM,
    HEIGHT,
    MARKED,
    PLOT_BOTTOM,
    PLOT_LEFT,
    PLOT_RIGHT,
    PLOT_TOP,
    TOP,
    WIDTH,
    Span,
    bars,
    curve,
    plot,
)

WHOLE = Span(0.0, 1.0)


def test_gap_goes_from_top_to_bottom_and_nothing_is_no_bar() -> None:
    gap, most, half = bars([None, 8.0, 0.0, 4.0], ["nobody looked", "8", "0", "4"])

    room = HEIGHT - TOP - BOTTOM
    assert (gap.is_gap, gap.x, gap.y, gap.width, gap.height) == (True, 0.0, TOP, WIDTH / 4, room)
    assert [(one.is_gap, one.x, one.height, one.text) for one in (most, half)] == [
        (False, WIDTH / 4, room, "8"),
        (False, 3 * WIDTH / 4, room / 2, "4"),
    ]
    assert all(one.is_gap for one in bars([None, None], ["", ""]))


def test_curve_goes_from_corner_to_corner_and_up() -> None:
    found = curve("chance", [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)], WHOLE, WHOLE)

    middle = ((PLOT_LEFT + PLOT_RIGHT) / 2, (PLOT_TOP + PLOT_BOTTOM) / 2)
    assert found.points == [(PLOT_LEFT, PLOT_BOTTOM), middle, (PLOT_RIGHT, PLOT_TOP)]
    assert found.path == "46.0,196.0 177.0,103.0 308.0,10.0"


def test_value_outside_stays_on_the_plane() -> None:
    found = curve("loss", [(-1.0, 9.0)], WHOLE, WHOLE)

    assert found.points == [(PLOT_LEFT, PLOT_TOP)]


def test_span_of_one_value_divides_by_nothing() -> None:
    assert curve("loss", [(1.0, 0.0)], Span(1.0, 1.0), Span(0.0, 0.0)).points == [(PLOT_LEFT, PLOT_BOTTOM)]


def test_many_points_are_not_marked_each() -> None:
    few, many = ([(at / 100, 0.5) for at in range(count)] for count in (MARKED, MARKED + 1))

    assert len(curve("few", few, WHOLE, WHOLE).marks) == MARKED
    assert curve("many", many, WHOLE, WHOLE).marks == []


def test_curve_without_values_is_left_out() -> None:
    found = plot({"train": [(0.0, 1.0)], "val": []}, WHOLE, WHOLE)

    assert [one.name for one in found.curves] == ["train"]
    assert (found.up.texts(), Span(1, 1234.5).texts()) == (("0", "1"), ("1", "1,234"))
