"""Pre-training of demo teachers: both objectives learn, hidden patches stay hidden, augmentation keeps its promises."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wecolora.config.datasets import Bundled
from wecolora.config.recipes import PretrainRecipe
from wecolora.config.training import Pretraining
from wecolora.models import vit
from wecolora.training.pretrain import Classifier, MaskedAutoencoder, augment, pretrain


@pytest.fixture
def images():
    """Three classes of pictures that differ in colour, (48, 16, 16, 3) uint8, and their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    colours = torch.tensor([[220, 40, 40], [40, 220, 40], [40, 40, 220]])
    noise = torch.randint(-30, 30, (48, 16, 16, 3), generator=generator)
    return (colours[labels].view(48, 1, 1, 3) + noise).to(torch.uint8), labels


@pytest.fixture
def recipe(tiny_architecture):
    def make(objective, **changes):
        values = {"dataset": "photos", "augmentation": "weak", "epochs": 6, "batch": 16, "lr": 3e-3, "mask": 0.5}
        return PretrainRecipe(
            teacher="tiny",
            architecture={**tiny_architecture, "depth": 2},
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            training=Pretraining(objective=objective, **{**values, **changes}),
            data=Bundled(label="photos", source="bundled", bundled="photos"),
            revision=1,
        )

    return make


@pytest.fixture
def autoencoder(tiny_architecture):
    """16 patches of 4 x 4 pixels, 6 of them visible."""
    torch.manual_seed(0)
    encoder = vit.build({**tiny_architecture, "patch_size": 4, "depth": 1})
    return MaskedAutoencoder(encoder, mask=0.6, decoder_width=16, decoder_depth=1)


def losses(lines):
    return [float(line.split("loss ")[1].split(",")[0]) for line in lines]


# Training


@pytest.mark.parametrize("objective", ["supervised", "masked_autoencoder"])
def test_training_lowers_the_loss_and_returns_a_plain_backbone(objective, images, recipe):
    lines = []
    model = pretrain(*images, recipe(objective), lines.append)
    assert [line.split(":")[0] for line in lines] == [f"epoch {number}/6" for number in range(1, 7)]
    assert losses(lines)[-1] < 0.8 * losses(lines)[0]
    assert not model.training
    plain = vit.build(recipe(objective).input.architecture.model_dump()).state_dict().keys()
    head = {"head.weight", "head.bias"} if objective == "supervised" else set()
    assert model.state_dict().keys() == plain | head


@pytest.mark.parametrize("objective", ["supervised", "masked_autoencoder"])
def test_the_seed_decides_the_weights(objective, images, recipe):
    def weights(seed):
        return pretrain(*images, recipe(objective, epochs=1, seed=seed), lambda line: None).state_dict()

    one, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    assert not torch.equal(one["cls_token"], other["cls_token"])


def test_only_the_supervised_objective_reads_labels(images, recipe):
    pixels, labels = images
    for objective, same in [("masked_autoencoder", True), ("supervised", False)]:
        one, other = (
            pretrain(pixels, given, recipe(objective, epochs=1), lambda line: None).state_dict()["cls_token"]
            for given in (labels, labels.flip(0))
        )
        assert torch.equal(one, other) == same


def test_the_classifiers_loss_is_cross_entropy_with_a_tenth_of_smoothing(tiny_teacher):
    torch.manual_seed(0)
    model = Classifier(tiny_teacher, 5).eval()
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 3, 4, 3])
    with torch.no_grad():
        logs = model.head(tiny_teacher(images)).log_softmax(-1)
        wanted = -(0.9 * logs[range(4), labels] + 0.1 * logs.mean(-1)).mean()
        torch.testing.assert_close(model(images, labels), wanted)


# Masked autoencoding


def test_the_encoder_sees_the_class_token_and_the_visible_patches_at_their_places(autoencoder):
    seen = []
    autoencoder.encoder.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    images = torch.randn(3, 3, 16, 16)
    autoencoder(images)
    encoder = autoencoder.encoder
    with torch.no_grad():
        allowed = encoder.patch_embed(images) + encoder.pos_embed[:, 1:]
        cls = (encoder.cls_token + encoder.pos_embed[:, :1])[0, 0]
    assert seen[0].shape == (3, 1 + 6, 32)
    shown_of_all = []
    for tokens, patches in zip(seen[0], allowed, strict=True):
        assert torch.equal(tokens[0], cls)
        distance = torch.cdist(tokens[1:], patches)
        shown = distance.argmin(1).tolist()
        assert distance.min(1).values.max() < 1e-5 and len(set(shown)) == 6
        shown_of_all.append(tuple(sorted(shown)))
    assert len(set(shown_of_all)) == 3  # each image hides patches of its own


def test_the_loss_is_the_error_on_hidden_patches_plus_that_of_the_class_tokens_own_picture(autoencoder, monkeypatch):
    """The decoder is replaced by known answers; the visible patches are found through a hook."""
    images = torch.randn(2, 3, 16, 16)
    answers = torch.randn(2, 2, 16, 48)  # from patches, from the class token
    seen, calls = [], iter(answers)
    autoencoder.encoder.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    monkeypatch.setattr(autoencoder, "decode", lambda cls, patches: next(calls))
    loss = autoencoder(images)
    # patch (i, j) holds rows 4i.. and columns 4j.., channels outermost
    patches = images.view(2, 3, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(2, 16, 48)
    with torch.no_grad():
        places = autoencoder.encoder.patch_embed(images) + autoencoder.encoder.pos_embed[:, 1:]
    shown = torch.cdist(seen[0][:, 1:], places).argmin(2)
    squares = [((answer - patches) ** 2).mean(-1) for answer in answers]
    hidden = [squares[0][n][[p for p in range(16) if p not in shown[n]]] for n in range(2)]
    torch.testing.assert_close(loss.detach(), torch.cat(hidden).mean() + squares[1].mean())


def test_visible_patches_return_to_their_places_before_decoding(autoencoder, monkeypatch):
    """With an encoder that changes nothing, the decoder's input is each visible token at its patch, else the mask."""
    autoencoder.encoder.blocks = nn.Identity()
    autoencoder.encoder.norm = nn.Identity()
    inputs = []
    monkeypatch.setattr(autoencoder, "decode", lambda *given: inputs.append(given) or torch.zeros(2, 16, 48))
    nn.init.normal_(autoencoder.mask_token)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        autoencoder(images)
        tokens = autoencoder.embed(autoencoder.encoder.patch_embed(images) + autoencoder.encoder.pos_embed[:, 1:])
        cls = autoencoder.embed(autoencoder.encoder.cls_token + autoencoder.encoder.pos_embed[:, :1])
    (first, restored), (second, from_cls) = inputs
    for given in (first, second):
        torch.testing.assert_close(given, cls.expand(2, -1, -1))
    shown = torch.isclose(restored, tokens, atol=1e-5).all(-1)
    masked = torch.isclose(restored, autoencoder.mask_token, atol=1e-6).all(-1)
    assert torch.equal(shown, ~masked) and shown.sum(1).tolist() == [6, 6]
    assert torch.equal(from_cls, autoencoder.mask_token.expand(2, 16, -1))


# Augmentation


@pytest.mark.parametrize("kind", ["weak", "strong", "mixed"])
def test_augmentation_keeps_shape_and_range_and_repeats_with_its_generator(kind):
    images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    one, again, other = (augment(images, kind, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.shape == images.shape and one.min() >= -1e-6 and one.max() <= 1 + 1e-6
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not any(torch.allclose(a, b) for a, b in zip(one, images, strict=True))


def test_weak_augmentation_moves_pixels_and_keeps_colours():
    """A picture of one colour stays as it is; crop and flip are all that happens."""
    flat = torch.rand(20, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 16, 16)
    torch.testing.assert_close(augment(flat, "weak", torch.Generator().manual_seed(1)), flat.contiguous())
    changed = (augment(flat, "strong", torch.Generator().manual_seed(1)) - flat).abs().amax((1, 2, 3))
    assert (changed > 0.01).float().mean() > 0.9


def test_mixed_augmentation_recolours_the_second_half_alone():
    flat = torch.rand(20, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 16, 16)
    changed = (augment(flat, "mixed", torch.Generator().manual_seed(1)) - flat).abs().amax((1, 2, 3)) > 0.01
    assert not changed[:10].any() and changed[10:].float().mean() > 0.8


def test_crops_take_a_quarter_to_all_of_the_area_and_half_are_mirrored():
    """A ramp from left to right shows the width of the crop as its slope, and a flip as its sign."""
    ramp = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(400, 3, 64, 64)
    both = torch.stack([ramp[:, 0], ramp[:, 0].transpose(1, 2), ramp[:, 0]], 1)
    out = augment(both, "weak", torch.Generator().manual_seed(0))
    width = out[:, 0, 32, 40] - out[:, 0, 32, 24]
    height = out[:, 1, 40, 32] - out[:, 1, 24, 32]
    full = both[0, 0, 32, 40] - both[0, 0, 32, 24]
    area = (width.abs() / full) * (height / full)
    assert (height > 0).all() and 0.4 < (width < 0).float().mean() < 0.6
    assert 0.2 < area.min() < 0.35 and 0.9 < area.max() < 1.01
    assert F.relu(width.abs() / full - 1).max() < 0.01
