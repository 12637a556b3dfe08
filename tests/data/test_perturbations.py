"""Perturbed images against Pillow, scipy and numpy, and against their own severity."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medr1.data.images import load_image
from medr1.data.perturbations import GREY, PERTURBATIONS, perturb
from medr1.data.tiny import tiny_vqa_folder

SCALED = [kind for kind, one in PERTURBATIONS.items() if len(one.values) == 5]


@pytest.fixture(scope="module")
def images():
    """Real ones of several modalities, grey and coloured."""
    paths = sorted((tiny_vqa_folder() / "images").glob("test_*.jpg"))[::40]
    return [load_image(path).image for path in paths]


@pytest.fixture(scope="module")
def flat():
    """Mid-grey, large enough for statistics."""
    return Image.new("RGB", (300, 200), (120, 120, 120))


@pytest.fixture(scope="module")
def coloured():
    return Image.new("RGB", (300, 200), (90, 120, 150))


def values(image):
    return np.asarray(image, dtype=np.float64)


def distance(one, other):
    return np.abs(values(one) - values(other)).mean()


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_size_and_mode_stay_and_the_image_itself_is_not_touched(kind, images):
    odd = images[0].resize((75, 41))
    for image in (*images[:3], odd, Image.new("RGB", (1, 1), (9, 9, 9))):
        before = image.tobytes()
        for severity in PERTURBATIONS[kind].severities:
            made = perturb(image, kind, severity)
            assert (made.size, made.mode) == (image.size, "RGB")
        assert image.tobytes() == before


@pytest.mark.parametrize("kind", SCALED)
def test_each_severity_is_further_from_the_image_than_the_one_before(kind, images):
    far = np.array([[distance(perturb(p, kind, s), p) for s in range(1, 6)] for p in images])
    assert (np.diff(far.mean(axis=0)) > 0).all()
    assert (np.diff(far, axis=1) > 0).all(axis=1).mean() > 0.9


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(images):
    random = ("gaussian_noise", "shot_noise", "speckle_noise", "occlusion")
    for kind in PERTURBATIONS:
        one, again, other = (perturb(images[1], kind, 1, seed).tobytes() for seed in (3, 3, 4))
        assert one == again
        assert (one != other) == (kind in random) or kind == "rotation"
    turned = {perturb(images[1], "rotation", 3, seed).tobytes() for seed in range(12)}
    assert len(turned) == 2  # to either side


def test_noise_is_another_in_another_image_and_at_another_severity(flat):
    brighter = Image.new("RGB", flat.size, (121, 121, 121))
    noise = [values(perturb(image, "gaussian_noise", 1)) for image in (flat, brighter)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    stronger = values(perturb(flat, "gaussian_noise", 2))
    assert abs(np.corrcoef(noise[0].ravel(), stronger.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("severity", [1, 2])  # beyond, clipping at 0 and 255 takes from it
def test_noise_has_the_stated_standard_deviation(severity, flat):
    share = 120 / 255
    expected = {
        "gaussian_noise": PERTURBATIONS["gaussian_noise"].values[severity - 1],
        "speckle_noise": share * PERTURBATIONS["speckle_noise"].values[severity - 1],
        "shot_noise": (share / PERTURBATIONS["shot_noise"].values[severity - 1]) ** 0.5,
    }
    for kind, deviation in expected.items():
        made = values(perturb(flat, kind, severity))
        assert made.std() / 255 == pytest.approx(deviation, rel=0.03)
        assert made.mean() == pytest.approx(120, abs=1)


def test_noise_of_a_grey_image_is_grey_and_of_a_coloured_one_is_not(flat, coloured):
    for kind in ("gaussian_noise", "shot_noise", "speckle_noise"):
        red, green, blue = np.moveaxis(values(perturb(flat, kind, 3)), -1, 0)
        assert (red == green).all() and (green == blue).all()
        red, green, _ = np.moveaxis(values(perturb(coloured, kind, 3)), -1, 0)
        assert abs(np.corrcoef(red.ravel(), green.ravel())[0, 1]) < 0.02


def test_blur_is_scipys_and_grows_with_the_image(images):
    for image in images[:6]:
        large = image.resize((224, 300))
        for severity, sigma in enumerate((1, 2, 3, 4, 6), 1):
            exact = gaussian_filter(values(large), (sigma, sigma, 0), mode="nearest")
            assert np.abs(values(perturb(large, "gaussian_blur", severity)) - exact).mean() < 1
        exact = gaussian_filter(values(image), (1.5, 1.5, 0), mode="nearest")  # 112 pixels
        assert np.abs(values(perturb(image, "gaussian_blur", 3)) - exact).mean() < 1


def test_jpeg_has_the_quantisation_of_its_quality(images):
    """Encoding what was decoded with the same tables changes next to nothing; with others much."""
    for severity, quality in enumerate((25, 18, 15, 10, 7), 1):
        made = perturb(images[2], "jpeg", severity)
        tables = io.BytesIO()
        images[2].save(tables, "JPEG", quality=quality)
        direct = Image.open(tables)
        assert made.tobytes() == direct.convert("RGB").tobytes()
        flat_table = sorted(direct.quantization[0])
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        standard = 16  # the DC coefficient's in the standard's table of luminance
        assert direct.quantization[0][0] == min(255, int((standard * scale + 50) / 100))
        assert flat_table[0] > 1


def test_exposure_is_the_stated_formula(images):
    image = images[3]
    x = values(image) / 255
    mean = x.mean(axis=(0, 1))
    for severity in range(1, 6):
        left = PERTURBATIONS["contrast"].values[severity - 1]
        expected = np.clip((x - mean) * left + mean, 0, 1) * 255
        assert np.abs(values(perturb(image, "contrast", severity)) - expected).max() <= 0.51
        for kind in ("gamma_dark", "gamma_bright"):
            exponent = PERTURBATIONS[kind].values[severity - 1]
            made = values(perturb(image, kind, severity))
            assert np.abs(made - 255 * x**exponent).max() <= 0.51


def test_brightness_adds_to_the_v_of_hsv(images):
    import colorsys

    image = images[-1].resize((16, 16))
    made = values(perturb(image, "brightness", 3)).reshape(-1, 3)
    for before, after in zip(values(image).reshape(-1, 3) / 255, made, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.3))
        assert np.abs(255 * np.array(expected) - after).max() <= 0.51
    black = perturb(Image.new("RGB", (4, 4)), "brightness", 1)
    assert black.getcolors() == [(16, (26, 26, 26))]


def test_a_lower_resolution_has_that_many_different_blocks():
    noise = Image.effect_noise((120, 80), 80).convert("RGB")
    for severity, share in enumerate((0.6, 0.5, 0.4, 0.3, 0.25), 1):
        made = values(perturb(noise, "downscale", severity))[..., 0]
        changes = (np.abs(np.diff(made, axis=1)).sum(axis=0) > 0).sum()
        assert changes == int(120 * share) - 1 if share != 0.6 else changes >= 71
    half = noise.reduce(2).resize(noise.size, Image.Resampling.BOX)
    assert distance(perturb(noise, "downscale", 2), half) < 0.5


def test_a_rotation_turns_by_its_degrees_and_fills_with_the_edges_colour():
    ground = Image.new("RGB", (101, 101), (200, 180, 160))
    ground.paste((0, 0, 0), (50, 10, 51, 50))  # a line from the centre upwards
    for severity, degrees in enumerate((3, 6, 10, 15, 20), 1):
        made = values(perturb(ground, "rotation", severity))
        assert (made[0, 0] == (200, 180, 160)).all() and (made[-1, -1] == (200, 180, 160)).all()
        y, x = np.nonzero(made[..., 0] < 80)
        far = (50 - y) > 30
        angles = np.degrees(np.arctan2(x[far] - 50, 50 - y[far]))
        assert abs(angles.mean()) == pytest.approx(degrees, abs=0.8)


def test_a_crop_shows_the_centre_larger():
    ground = Image.new("RGB", (100, 100))
    ground.paste((255, 255, 255), (45, 45, 55, 55))
    for severity, kept in enumerate((0.9, 0.8, 0.7, 0.6, 0.5), 1):
        made = values(perturb(ground, "crop", severity))[..., 0]
        assert (made > 127).sum() == pytest.approx(100 / kept**2, rel=0.15)
        y, x = np.nonzero(made > 127)
        assert (y.mean(), x.mean()) == pytest.approx((49.5, 49.5), abs=0.6)


def test_an_occlusion_covers_its_share_and_holds_the_one_before(images):
    white = Image.new("RGB", (160, 90), (255, 255, 255))
    for seed in range(5):
        before = np.zeros((90, 160), dtype=bool)
        for severity, share in enumerate((0.05, 0.1, 0.2, 0.3, 0.4), 1):
            covered = (values(perturb(white, "occlusion", severity, seed)) == GREY).all(axis=-1)
            assert covered.mean() == pytest.approx(share, rel=0.04)
            assert covered[before].mean() > 0.97 if before.any() else True  # rounded edges
            before = covered


def test_flips_are_exact_and_undo_themselves(images):
    for kind, axis in (("flip_horizontal", 1), ("flip_vertical", 0)):
        once = perturb(images[4], kind)
        assert (values(once) == np.flip(values(images[4]), axis)).all()
        assert perturb(once, kind).tobytes() == images[4].tobytes()


def test_a_blank_image_tells_nothing(images):
    assert {perturb(p, "blank").tobytes() for p in images if p.size == (112, 112)} == {
        bytes(GREY) * 112 * 112
    }


def test_what_does_not_exist_is_refused(flat):
    with pytest.raises(ValueError, match="severities"):
        perturb(flat, "jpeg", 6)
    with pytest.raises(ValueError, match="severities"):
        perturb(flat, "flip_vertical", 2)
    with pytest.raises(KeyError):
        perturb(flat, "blurr", 1)
