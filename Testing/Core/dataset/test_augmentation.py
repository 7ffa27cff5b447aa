"""Augmentation on the device: what is drawn, where pixels come from, and that a batch is only many samples."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from DinoUNetCore.dataset.augmentation import Augmentation, AugmentationSettings, Chance, Numbers, Windows
from DinoUNetCore.dataset.intensity_augmentation import INTENSITY_CHANGES
from DinoUNetCore.dataset.spatial_augmentation import crop_centre

NAMES = [field.name for field in fields(AugmentationSettings) if isinstance(field.default, Chance)]
NEVER = replace(
    AugmentationSettings(rotation_probability=0.0, mirror=()),
    **{name: replace(getattr(AugmentationSettings(), name), probability=0.0) for name in NAMES},
)
ALWAYS = replace(
    AugmentationSettings(rotation_probability=1.0),
    **{name: replace(getattr(AugmentationSettings(), name), probability=1.0) for name in NAMES},
)


def windows(numbers, size=(64, 96), channels=3, dtype=torch.float32, seed=0):
    """A batch of smooth random images with blocks of classes, one window for each of `numbers`."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (int(np.ceil(1.5 * side)) for side in size)
    coarse = torch.randn(len(numbers), channels, rows // 6, columns // 6, generator=generator)
    image = F.interpolate(coarse, (rows, columns), mode="bicubic")
    label = (image[:, 0] > 0).to(torch.uint8) + 3 * (image[:, 0] > 1).to(torch.uint8)
    return Windows(image.to(dtype), label, list(numbers))


def apply(batch, size=(64, 96)):
    return Augmentation(NEVER, size)(batch, "cpu")


def coordinates(count, size):
    """A picture whose channels are the offsets (row, column) from its centre, and its class is the channels' code."""
    rows, columns = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2 for side in size), indexing="ij")
    image = torch.stack((rows, columns)).expand(count, 2, *size).contiguous()
    return image, code(image)


def code(image):
    return ((image[:, 0] + 500).round() * 1000 + (image[:, 1] + 500).round()).to(torch.int32)


def test_the_ranges_are_the_authors():
    settings = AugmentationSettings()
    chances = {name: getattr(settings, name) for name in NAMES}
    drawn = {name: (chance.probability, chance.low, chance.high) for name, chance in chances.items()}
    assert (settings.rotation_probability, settings.rotation) == (0.2, 180)
    assert drawn == {
        "scaling": (0.2, 0.7, 1.4),
        "noise": (0.1, 0, 0.1),
        "blur": (0.2, 0.5, 1),
        "brightness": (0.15, 0.75, 1.25),
        "contrast": (0.15, 0.75, 1.25),
        "low_resolution": (0.25, 0.5, 1),
        "inverted_gamma": (0.1, 0.7, 1.5),
        "gamma": (0.3, 0.7, 1.5),
    }
    assert settings.mirror == ("rows", "columns")
    assert list(INTENSITY_CHANGES) == ["blur", "brightness", "contrast", "low_resolution", "inverted_gamma", "gamma"]


def test_numbers_are_drawn_as_often_and_as_large_as_the_settings_say():
    augmentation = Augmentation(AugmentationSettings(rotation=30), (64, 64))
    drawn = [augmentation.draw(np.random.default_rng(seed), channels=2) for seed in range(4000)]
    settings = augmentation.settings
    for name in NAMES:
        if name in INTENSITY_CHANGES:
            values = [n.intensity[name] for n in drawn if name in n.intensity]
        else:
            values = [getattr(n, name) for n in drawn if getattr(n, name) is not None]
        chance = getattr(settings, name)
        assert len(values) / len(drawn) == pytest.approx(chance.probability, abs=0.03), name
        values, spread = np.array(values), chance.high - chance.low
        assert chance.low <= values.min() < chance.low + 0.1 * spread, name
        assert chance.high >= values.max() > chance.high - 0.1 * spread, name
        if chance.evenly:
            assert (values < 1).mean() == pytest.approx(0.5, abs=0.08), name
    turned = np.array([n.rotation for n in drawn if n.rotation is not None])
    assert len(turned) / len(drawn) == pytest.approx(0.2, abs=0.03)
    assert -30 <= turned.min() < -27 and 27 < turned.max() <= 30
    assert np.array([n.mirror for n in drawn]).mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.04)


def test_channels_are_changed_apart_and_their_context_slices_alike():
    numbers = Augmentation(ALWAYS, (64, 64)).draw(np.random.default_rng(0), channels=2, context_slices=3)
    for strengths in numbers.intensity.values():
        assert strengths.shape == (6,) and strengths.dtype == np.float32
        assert len(set(strengths)) == 2 and (strengths.reshape(3, 2) == strengths[:2]).all()


def test_only_the_axes_that_are_named_are_mirrored():
    augmentation = Augmentation(replace(ALWAYS, mirror=("columns",)), (64, 64))
    drawn = [augmentation.draw(np.random.default_rng(seed), 1).mirror for seed in range(30)]
    assert set(drawn) == {(False, False), (False, True)}


@pytest.mark.parametrize("size", [(64, 96), (65, 63)])
def test_where_nothing_is_drawn_the_patch_is_the_windows_middle_to_the_bit(size):
    drawn = [Augmentation(NEVER, size).draw(np.random.default_rng(seed), 3) for seed in range(2)]
    batch = windows([*drawn, Numbers(rotation=10.0)], size, dtype=torch.float16)
    image, label = apply(batch, size)
    assert image.dtype == torch.float32 and label.dtype == torch.int64
    assert torch.equal(image[:2], crop_centre(batch.image, size)[:2].float())
    assert torch.equal(label[:2], crop_centre(batch.label, size)[:2].long())
    assert not torch.equal(image[2], crop_centre(batch.image, size)[2].float())


def test_the_windows_are_not_changed():
    batch = windows([Augmentation(ALWAYS, (64, 96)).draw(np.random.default_rng(0), 3)])
    before = batch.image.clone(), batch.label.clone()
    apply(batch)
    assert torch.equal(batch.image, before[0]) and torch.equal(batch.label, before[1])


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_equal_rot90(quarters):
    batch = windows([Numbers(rotation=-90.0 * quarters)], size=(96, 96))
    image, label = apply(batch, (96, 96))
    patch, classes = (crop_centre(part, (96, 96)) for part in (batch.image, batch.label))
    assert (image - torch.rot90(patch, quarters, (2, 3))).abs().max() < 1e-4
    assert torch.equal(label, torch.rot90(classes, quarters, (1, 2)).long())


@pytest.mark.parametrize("mirror", [(True, False), (False, True), (True, True)])
def test_mirroring_is_exact(mirror):
    batch = windows([Numbers(mirror=mirror)])
    image, label = apply(batch)
    axes = [axis for axis, done in zip((-2, -1), mirror, strict=True) if done]
    assert torch.equal(image, crop_centre(batch.image, (64, 96)).flip(axes))
    assert torch.equal(label, crop_centre(batch.label, (64, 96)).flip(axes).long())


@pytest.mark.parametrize("mirror", [(True, False), (False, True), (True, True)])
def test_a_rotated_and_scaled_sample_is_mirrored_afterwards(mirror):
    plain, mirrored = (Numbers(rotation=25.0, scaling=0.8, mirror=m) for m in ((False, False), mirror))
    image, label = apply(windows([plain]))
    same, same_label = apply(windows([mirrored]))
    axes = [axis for axis, done in zip((-2, -1), mirror, strict=True) if done]
    assert (same - image.flip(axes)).abs().max() < 1e-4
    assert (same_label != label.flip(axes)).float().mean() < 1e-3


@pytest.mark.parametrize(("rotation", "scaling"), [(33.0, None), (-120.0, None), (None, 0.7), (15.0, 0.75)])
def test_pixels_come_from_where_they_should_and_labels_with_them(rotation, scaling):
    size = (64, 96)
    image, label = coordinates(1, (96, 144))
    for mirror in ((False, False), (True, False)):
        numbers = Numbers(rotation=rotation, scaling=scaling, mirror=mirror)
        seen, classes = apply(Windows(image, label, [numbers]), size)
        offsets, _ = coordinates(1, size)
        offsets = offsets * torch.tensor([-1.0 if done else 1.0 for done in mirror])[:, None, None]
        angle = torch.tensor((rotation or 0.0) * torch.pi / 180)
        rows, columns = offsets[0]
        # clockwise: what is right of the centre was above it
        expected = torch.stack((rows * angle.cos() - columns * angle.sin(), rows * angle.sin() + columns * angle.cos()))
        expected = expected * (scaling or 1)
        limits = torch.tensor([47.5, 71.5])[:, None, None]
        expected = expected.clamp(-limits, limits)  # beyond the border its pixels repeat
        assert (seen[0] - expected).abs().max() < 1e-3
        # the nearest pixel's class: at most half a pixel from where the image was looked up
        found = torch.stack((classes[0] // 1000 - 500, classes[0] % 1000 - 500)).float()
        assert set(classes.unique().tolist()) <= set(label.unique().tolist())
        assert (found - expected).abs().max() < 1.001  # half a pixel, and half for whole numbers in the code


def test_labels_are_never_mixed():
    numbers = [Numbers(rotation=float(angle), scaling=1.2) for angle in range(10, 170, 20)]
    batch = windows(numbers)
    _, label = apply(batch)
    assert set(label.unique().tolist()) == set(batch.label.unique().tolist()) == {0, 1, 4}


def test_a_sample_does_not_depend_on_its_batch():
    settings = replace(ALWAYS, **{name: replace(getattr(ALWAYS, name), probability=0.5) for name in NAMES})
    augmentation = Augmentation(settings, (64, 96))
    drawn = [augmentation.draw(np.random.default_rng(seed), 3) for seed in range(12)]
    batch = windows(drawn)
    image, label = augmentation(batch, "cpu")
    for order in ([5], [3, 0], list(range(11, -1, -1))):
        part = Windows(batch.image[order], batch.label[order], [drawn[index] for index in order])
        again, label_again = augmentation(part, "cpu")
        assert (again - image[order]).abs().max() < 1e-4
        assert torch.equal(label_again, label[order])


def test_drawing_a_batch_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    apply(windows([Augmentation(ALWAYS, (64, 96)).draw(np.random.default_rng(0), 3)]))
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_has_the_drawn_deviation_and_the_seed_decides_it():
    batch = windows([Numbers(noise=0.2, noise_seed=seed) for seed in (1, 2, 1)])
    batch = batch._replace(image=torch.zeros_like(batch.image))
    image, _ = apply(batch)
    assert image[0].std() == pytest.approx(0.2, rel=0.03) and abs(image[0].mean()) < 0.01
    assert torch.equal(image[0], image[2]) and not torch.equal(image[0], image[1])
    assert not torch.equal(image[0, 0], image[0, 1])


def strengths(*values):
    return torch.tensor(values).view(1, -1, 1, 1)


def test_blur_is_a_gaussian_of_the_drawn_sigma():
    from scipy.ndimage import gaussian_filter

    image = torch.randn(1, 2, 40, 50, generator=torch.Generator().manual_seed(0))
    blurred = INTENSITY_CHANGES["blur"](image, strengths(0.6, 1.0))
    for channel, sigma in enumerate((0.6, 1.0)):
        expected = gaussian_filter(image[0, channel].double().numpy(), sigma, radius=3, mode="nearest")
        assert np.abs(blurred[0, channel].numpy() - expected).max() < 1e-5


def test_low_resolution_equals_resampling_there_and_back():
    image = torch.randn(1, 3, 64, 97, generator=torch.Generator().manual_seed(0))
    for scales in ((0.5, 0.63, 1.0), (0.501, 0.77, 0.9)):
        coarse = INTENSITY_CHANGES["low_resolution"](image, strengths(*scales))
        for channel, scale in enumerate(scales):
            plane = image[:, channel : channel + 1]
            small = F.interpolate(plane, [round(side * scale) for side in (64, 97)], mode="nearest-exact")
            expected = F.interpolate(small, (64, 97), mode="bilinear")
            assert (coarse[:, channel : channel + 1] - expected).abs().max() < 1e-4


def test_brightness_and_contrast_act_on_each_channel_and_keep_its_range():
    image = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0)) + 3
    assert torch.allclose(INTENSITY_CHANGES["brightness"](image, strengths(0.8, 1.2))[0, 1], 1.2 * image[0, 1])
    changed = INTENSITY_CHANGES["contrast"](image, strengths(0.75, 1.25))
    assert changed[0, 0].std() == pytest.approx(0.75 * image[0, 0].std().item(), rel=1e-4)
    assert changed[0, 0].mean() == pytest.approx(image[0, 0].mean().item(), rel=1e-4)
    assert changed[0, 1].min() == image[0, 1].min() and changed[0, 1].max() == image[0, 1].max()
    assert changed[0, 1].std() > 1.1 * image[0, 1].std()


@pytest.mark.parametrize("name", ["gamma", "inverted_gamma"])
def test_gamma_bends_the_values_and_keeps_mean_and_deviation(name):
    ramp = torch.linspace(-2, 4, 400).view(1, 1, 20, 20)
    bent = INTENSITY_CHANGES[name](ramp, strengths(1.5))
    for kept in (torch.mean, torch.std):
        assert kept(bent).item() == pytest.approx(kept(ramp).item(), abs=1e-4)
    steps = bent.flatten().diff()
    assert (steps >= 0).all()  # the order of the values stays
    dark, bright = steps[:50].mean(), steps[-50:].mean()
    assert dark < bright if name == "gamma" else bright < dark
    assert torch.allclose(INTENSITY_CHANGES[name](ramp, strengths(1.0)), ramp, atol=1e-4)


def test_an_even_image_stays_finite_under_everything():
    batch = windows([Augmentation(ALWAYS, (64, 96)).draw(np.random.default_rng(seed), 3) for seed in range(3)])
    image, _ = apply(batch._replace(image=torch.full_like(batch.image, -1.5)))
    assert torch.isfinite(image).all() and image.abs().max() < 3


def test_an_augmentation_goes_to_spawned_workers():
    augmentation = pickle.loads(pickle.dumps(Augmentation(ALWAYS, (64, 96))))
    numbers = pickle.loads(pickle.dumps(augmentation.draw(np.random.default_rng(3), 1)))
    assert numbers.matrix() == pytest.approx(augmentation.draw(np.random.default_rng(3), 1).matrix())
