"""DMAE: masks that both models share, the reconstruction and alignment losses, and the decoder's order of patches."""

import numpy as np
import pytest
import torch

from wecolora.config.teachers import Architecture
from wecolora.models import vit
from wecolora.training import dmae
from wecolora.training.dmae import DMAE, aligned_block, alignment_loss, pixel_loss, random_shown, visible_tokens


@pytest.fixture
def architecture():
    """Sixteen patches."""
    return Architecture(img_size=16, patch_size=4, embed_dim=48, depth=4, num_heads=2).model_dump()


@pytest.fixture
def teacher(architecture):
    torch.manual_seed(1)
    model = vit.build(architecture).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def images():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def objective(teacher, architecture, distill_recipe):
    def make(epoch=0, **changes):
        torch.manual_seed(0)
        made = DMAE(teacher, distill_recipe(method="dmae", architecture=architecture, **changes))
        made.start_epoch(epoch, 0)
        return made

    return make


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Masks


@pytest.mark.parametrize(("patches", "seen"), [(196, 49), (16, 4), (4, 1), (1, 1)])
def test_a_quarter_of_the_patches_is_seen(patches, seen):
    order, shown = random_shown(7, patches, generator())
    assert shown.shape == (7, seen) and torch.equal(shown, order[:, :seen])
    assert torch.equal(order.sort(1).values, torch.arange(patches).expand(7, -1))


def test_every_patch_is_shown_as_often_as_another():
    _, shown = random_shown(4000, 16, generator())
    counts = torch.bincount(shown.flatten(), minlength=16)
    assert (counts / 4000 - 0.25).abs().max() < 0.04


def masks_of(objective, images, monkeypatch, epoch, batches=2):
    """What each step of an epoch draws."""
    drawn = []
    real = random_shown

    def recording(*arguments):
        drawn.append(real(*arguments))
        return drawn[-1]

    monkeypatch.setattr(dmae, "random_shown", recording)
    objective.start_epoch(epoch, 0)
    with torch.no_grad():
        for _ in range(batches):
            objective(images, torch.empty(0), None)
    monkeypatch.undo()
    return torch.cat([shown for _, shown in drawn])


def test_masks_follow_from_seed_and_epoch_alone(objective, images, monkeypatch):
    one = objective()
    first = masks_of(one, images, monkeypatch, 3)
    torch.randn(7)  # what else is drawn does not matter
    assert torch.equal(masks_of(objective(epoch=9), images, monkeypatch, 3), first)
    assert not torch.equal(first[:5], first[5:])  # batches of an epoch
    assert not torch.equal(masks_of(one, images, monkeypatch, 4), first)
    assert not torch.equal(masks_of(objective(seed=1), images, monkeypatch, 3), first)


def test_visible_tokens_are_the_prefix_and_the_shown_patches_with_their_positions(teacher, images):
    shown = torch.tensor([[3, 0], [15, 7], [1, 2], [4, 4], [9, 8]])
    with torch.no_grad():
        found = visible_tokens(teacher, images, shown)
        whole = vit.embedded(teacher, images)
    assert found.shape == (5, 3, 48)
    for image in range(5):
        assert torch.equal(found[image, 0], whole[image, 0])
        for place, patch in enumerate(shown[image].tolist()):
            assert torch.equal(found[image, 1 + place], whole[image, 1 + patch])


def test_teacher_and_student_see_the_same_patches(objective, teacher, images, monkeypatch):
    """A spy on what enters their first blocks: each token is found among those of the whole image, at one place."""
    one = objective()
    places = {}
    for name, model in (("teacher", teacher), ("student", one.student)):
        with torch.no_grad():
            whole = vit.embedded(model, images)

        def spy(module, inputs, name=name, whole=whole):
            (given,) = inputs
            places[name] = [
                [(whole[image] - token).abs().sum(1).argmin().item() for token in given[image]]
                for image in range(len(given))
            ]
            assert all(torch.equal(given[image], whole[image, place]) for image, place in enumerate(places[name]))

        model.blocks[0].register_forward_pre_hook(spy)
    with torch.no_grad():
        one(images, torch.empty(0), None)
    assert places["teacher"] == places["student"]
    assert all(len(set(row)) == 5 and row[0] == 0 for row in places["teacher"])
    assert len({tuple(row) for row in places["teacher"]}) == 5


# The losses


@pytest.mark.parametrize(("depth", "block"), [(12, 8), (6, 3), (4, 2), (3, 1), (2, 0), (1, 0)])
def test_the_aligned_block_is_at_three_quarters(depth, block):
    assert aligned_block(depth) == block


def random(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def pixels_by_hand(restored, images, patch, shown):
    """Patch by patch, in numpy; the channels of a patch are its slowest dimension."""
    side = images.shape[-1] // patch
    errors = []
    for image in range(len(images)):
        for number in range(side * side):
            if number in shown[image].tolist():
                continue
            top, left = number // side * patch, number % side * patch
            wanted = images[image, :, top : top + patch, left : left + patch].numpy().ravel()
            wanted = (wanted - wanted.mean()) / np.sqrt(wanted.var(ddof=1) + 1e-6)
            errors.append(((restored[image, number].numpy() - wanted) ** 2).mean())
    return np.mean(errors)


def test_the_pixel_loss_is_that_of_hidden_patches_normalised_one_by_one():
    images, restored = 3 + 2 * random(2, 3, 12, 12, seed=1), random(2, 9, 48, seed=2)
    shown = torch.tensor([[8, 1, 3], [0, 4, 5]])
    found = pixel_loss(restored, images, 4, shown)
    assert found.item() == pytest.approx(pixels_by_hand(restored, images, 4, shown), rel=1e-10)


def test_what_is_restored_of_a_shown_patch_does_not_count():
    images, restored, shown = random(2, 3, 8, 8, seed=1), random(2, 4, 48, seed=2), torch.tensor([[1], [2]])
    before = pixel_loss(restored, images, 4, shown)
    restored[0, 1], restored[1, 2] = 1e6, 1e6
    assert torch.equal(pixel_loss(restored, images, 4, shown), before)
    restored[0, 2] += 1
    assert pixel_loss(restored, images, 4, shown) != before


def test_a_patchs_brightness_and_contrast_do_not_matter():
    images, restored, shown = random(2, 3, 8, 8, seed=1), random(2, 4, 48, seed=2), torch.tensor([[1], [2]])
    scale = torch.tensor([[5.0, 0.5], [2.0, 3.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    torch.testing.assert_close(
        pixel_loss(restored, images * scale + scale, 4, shown),
        pixel_loss(restored, images, 4, shown),
        rtol=1e-4,
        atol=0,
    )


def test_the_alignment_is_the_distance_of_unit_tokens():
    student, teacher = random(2, 3, 4, seed=1).numpy(), random(2, 3, 4, seed=2).numpy()
    unit = [x / np.sqrt((x**2).sum(-1, keepdims=True)) for x in (student, teacher)]
    found = alignment_loss(torch.from_numpy(student), torch.from_numpy(teacher)).item()
    assert found == pytest.approx(np.abs(unit[0] - unit[1]).mean(), rel=1e-10)


@pytest.mark.parametrize("layers", ["paper", [0, 1, 2]])
def test_the_loss_is_the_sum_of_both_terms(objective, teacher, images, monkeypatch, layers):
    """Written with hooks: the student's block at three quarters, through the projection, and the teacher's."""
    one = objective(layers=layers)
    depth = len(one.student.blocks)
    seen = {}
    parts = {
        "own": one.student.blocks[max(1, depth * 3 // 4) - 1],
        "wanted": teacher.blocks[2],
        "out": one.to_pixels,
        "last": one.student.norm,
    }
    for name, part in parts.items():
        part.register_forward_hook(lambda module, inputs, output, name=name: seen.__setitem__(name, output))
    with torch.no_grad():
        found = one(images, torch.empty(0), None)
        one.start_epoch(0, 0)
        _, shown = random_shown(5, 16, one.generator)
        aligned = (seen["own"] @ one.align.weight.T + one.align.bias).numpy()
    unit = [x / np.sqrt((x**2).sum(-1, keepdims=True)) for x in (aligned, seen["wanted"].numpy())]
    pixels = pixels_by_hand(seen["out"][:, 1:], images, 4, shown)
    assert found.loss.item() == pytest.approx(pixels + np.abs(unit[0] - unit[1]).mean(), rel=1e-4)
    assert found.deviation is None
    torch.testing.assert_close(found.student, seen["last"][:, 0])  # what the probe reads, of the visible patches
    torch.testing.assert_close(found.teacher, seen["wanted"][:, 0])


# The decoder and the student


def test_the_decoder_puts_each_patch_at_its_place(objective):
    """With nothing learnt in between, a token comes out where its patch lies; the others hold the mask token."""
    one = objective()
    width = one.mask_token.shape[-1]
    one.embed = one.decoder = one.norm = one.to_pixels = torch.nn.Identity()
    order, shown = random_shown(3, 16, generator(4))
    latent = random(3, 1 + 4, width).float()
    with torch.no_grad():
        found = one.decode(latent, order) - one.positions
    assert found.shape == (3, 16, width)
    for image in range(3):
        seen = shown[image].tolist()
        for patch in range(16):
            wanted = latent[image, 1 + seen.index(patch)] if patch in seen else one.mask_token[0, 0]
            torch.testing.assert_close(found[image, patch], wanted, rtol=1e-4, atol=1e-5)


def test_the_decoder_restores_what_its_student_saw(objective, images):
    """The latent of a patch goes to the same patch's pixels: with pixels as latents the loss of shown patches is 0."""
    one = objective()
    flat = torch.nn.functional.unfold(images, 4, stride=4).transpose(1, 2)
    one.embed = one.decoder = one.norm = one.to_pixels = torch.nn.Identity()
    one.mask_token = torch.nn.Parameter(torch.zeros(1, 1, 48))
    one.positions = torch.zeros(1, 16, 48)
    order, shown = random_shown(5, 16, generator(4))
    latent = torch.cat([torch.zeros(5, 1, 48), flat.gather(1, shown.unsqueeze(-1).expand(-1, -1, 48))], 1)
    with torch.no_grad():
        restored = one.decode(latent, order)
    for image in range(5):
        for patch in range(16):
            assert torch.equal(restored[image, patch], flat[image, patch] * (patch in shown[image].tolist()))


def test_the_positions_are_fixed_and_tell_rows_from_columns(objective):
    one = objective()
    assert "positions" not in dict(one.named_parameters()) and one.positions.shape == (1, 16, 32)
    bands = 10000 ** -(np.arange(8) / 8)
    for patch in range(16):
        row, column = divmod(patch, 4)
        wanted = np.concatenate([f(x * bands) for f in (np.sin, np.cos) for x in (row, column)])
        found = one.positions[0, patch].numpy()
        np.testing.assert_allclose(np.sort(found), np.sort(wanted), atol=1e-5)
    assert len({tuple(row) for row in one.positions[0].tolist()}) == 16


def test_vit_bs_decoder_has_26_million_parameters(distill_recipe):
    architecture = Architecture().model_dump()
    with torch.device("meta"):
        one = DMAE(vit.build(architecture), distill_recipe(method="dmae", architecture=architecture))
    parts = {name: p.numel() for name, p in one.named_parameters() if not name.startswith(("student.", "align."))}
    assert round(sum(parts.values()) / 1e6, 1) == 26.0
    assert len(one.decoder) == 8 and one.mask_token.shape == (1, 1, 512) and one.decoder[0].attn.num_heads == 16
    assert sum(parameter.numel() for parameter in one.student.parameters()) == 43_271_424


def test_everything_but_the_teacher_trains(objective, teacher, images):
    one = objective()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    one(images, torch.empty(0), None).loss.backward()
    assert {name for name, parameter in one.named_parameters() if parameter.grad is None} == set()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_the_student_starts_at_random_and_is_exported_alone(objective, teacher, architecture):
    one = objective()
    exported = one.exported()
    assert exported.state_dict().keys() == vit.build(architecture, 2).state_dict().keys()
    assert not torch.equal(exported.blocks[0].mlp.fc1.weight, teacher.blocks[1].mlp.fc1.weight)
