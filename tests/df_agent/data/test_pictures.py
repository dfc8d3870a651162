"""Pictures as environments draw them."""

import numpy as np
import pytest

from df_agent.data.pictures import as_rgb
from df_agent.evaluation.video import Film

GREY = np.arange(0, 240, 4, dtype=np.uint8).reshape(6, 10)
RGB = np.stack([GREY, GREY + 5, GREY + 10], -1)
GREY_RGB = np.repeat(GREY[..., None], 3, -1)
OPAQUE = np.concatenate([RGB, np.full((6, 10, 1), 255, np.uint8)], -1)
FORMS = {
    "rgb": (RGB, RGB),
    "grey": (GREY, GREY_RGB),
    "grey with a channel": (GREY[..., None], GREY_RGB),
    "rgba": (OPAQUE, RGB),
    "channels first": (np.moveaxis(RGB, -1, 0), RGB),
    "one channel first": (GREY[None], GREY_RGB),
    "floats to 1": (RGB / 255, RGB),
    "floats to 255": (RGB.astype(np.float32), RGB),
    "int64": (RGB.astype(np.int64), RGB),
    "bools": (GREY > 100, np.repeat((GREY > 100)[..., None], 3, -1) * np.uint8(255)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_red_green_and_blue(form):
    given, expected = FORMS[form]
    np.testing.assert_array_equal(as_rgb(given), expected)
    np.testing.assert_array_equal(as_rgb(np.stack([given, given]), leading=1), np.stack([expected, expected]))
    film = Film(width=10)
    film.add([given])
    np.testing.assert_array_equal(np.asarray(film.at(0, 0)), expected)


def test_transparent_pictures_lie_on_white():
    clear = OPAQUE.copy()
    clear[..., 3] = 0
    assert (as_rgb(clear) == 255).all()


@pytest.mark.parametrize(
    "bad", [np.zeros((5, 5, 2)), np.zeros(4), np.full((4, 4), 300), np.full((4, 4), -1.0), np.full((4, 4), np.nan), "x"]
)
def test_what_is_no_picture_is_refused(bad):
    with pytest.raises(ValueError, match=r"picture"):
        as_rgb(bad)
