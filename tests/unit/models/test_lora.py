"""Enhanced LoRA: what is adapted and trained, equations 1 to 4, merging, and PEFT's own adapters."""

import copy
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model

from wecolora.config.teachers import Architecture
from wecolora.core.errors import BadInput
from wecolora.models import vit
from wecolora.models.lora import DoRALinear, LoRALinear, add_lora, merge
from wecolora.models.weight_copy import copy_weights

# recipes.md, section 3: (r, k) -> enhanced, q and v only
TRAINABLE = {
    (2, 64): (5_308_416, 1_179_648),
    (2, 128): (10_616_832, 2_359_296),
    (2, 256): (21_233_664, 4_718_592),
    (2, 512): (42_467_328, 9_437_184),
    (3, 64): (3_538_944, 786_432),
    (3, 128): (7_077_888, 1_572_864),
    (3, 256): (14_155_776, 3_145_728),
    (3, 512): (28_311_552, 6_291_456),
}


@pytest.fixture
def plain(tiny_teacher, tiny_architecture):
    return copy_weights(tiny_teacher, tiny_architecture, 2).eval()


@pytest.fixture
def images():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def adapted(plain, targets="enhanced", rank=4, kind="lora"):
    torch.manual_seed(0)
    return add_lora(copy.deepcopy(plain), rank, targets, kind)


def perturb(model, size=0.1):
    """As training would: A and B of every adapter move, and DoRA's magnitudes."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if {"A", "B", "magnitude"} & set(name.split(".")):
                parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


@pytest.mark.parametrize(("r", "k"), TRAINABLE)
@pytest.mark.parametrize(("column", "targets"), [(0, "enhanced"), (1, "qv")])
def test_vit_b_trains_as_many_parameters_as_recipes_md_counts(r, k, column, targets):
    architecture = Architecture().model_dump()
    with torch.device("meta"):
        model = add_lora(copy_weights(vit.build(architecture), architecture, r), k, targets)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == TRAINABLE[r, k][column]


@pytest.mark.parametrize(
    ("targets", "suffixes"),
    [
        (
            "enhanced",
            ["attn.qkv q", "attn.qkv k", "attn.qkv v", "attn.proj o", "mlp.fc1 f1", "mlp.fc2 f2"],
        ),
        ("qv", ["attn.qkv q", "attn.qkv v"]),
    ],
)
def test_only_a_and_b_of_the_targets_of_every_block_train(plain, targets, suffixes):
    model = adapted(plain, targets)
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    expected = set()
    for block in (0, 1):
        for suffix in suffixes:
            path, part = suffix.split()
            expected |= {f"blocks.{block}.{path}.{matrix}.{part}" for matrix in "AB"}
    assert trains == expected


def test_a_is_uniform_within_one_over_the_root_of_fan_in_and_b_is_zero():
    architecture = Architecture(img_size=16, patch_size=8, embed_dim=96, depth=3, num_heads=3).model_dump()
    torch.manual_seed(0)
    model = add_lora(vit.build(architecture), 64)
    for block in model.blocks:
        for layer, fan_in in [(block.attn.qkv, 96), (block.attn.proj, 96), (block.mlp.fc1, 96), (block.mlp.fc2, 384)]:
            bound = 1 / math.sqrt(fan_in)
            for matrix in layer.A.values():
                assert matrix.shape == (64, fan_in)
                assert 0.99 * bound < matrix.abs().max() <= bound
                assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
                assert abs(matrix.mean()) < 0.1 * bound
            assert all(not matrix.any() for matrix in layer.B.values())
    drawn = [m.flatten()[0].item() for b in model.blocks for m in b.attn.qkv.A.values()]
    assert len(set(drawn)) == len(drawn) == 9


@pytest.mark.parametrize("targets", ["enhanced", "qv"])
def test_at_the_start_the_output_is_exactly_the_plain_students(plain, images, targets):
    model = adapted(plain, targets)
    assert any(isinstance(module, LoRALinear) for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model.forward_features(images), plain.forward_features(images))


@pytest.mark.parametrize("targets", ["enhanced", "qv"])
def test_merged_and_unmerged_agree_after_a_and_b_have_moved(plain, images, targets):
    model = perturb(adapted(plain, targets))
    with torch.no_grad():
        unmerged, before = model.forward_features(images), plain.forward_features(images)
        merged = merge(model).forward_features(images)
    assert (unmerged - before).norm() / before.norm() > 0.05  # the adapters did something
    assert (merged - unmerged).norm() / unmerged.norm() < 1e-4
    assert (merged - unmerged).abs().max() / unmerged.abs().max() < 1e-4


@pytest.mark.parametrize("targets", ["enhanced", "qv"])
def test_a_merged_student_is_a_plain_frozen_one(plain, targets):
    model = merge(perturb(adapted(plain, targets)))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_merging_changes_the_target_weights_alone_and_by_b_times_a(plain):
    model = perturb(adapted(plain, "qv"))
    layer = model.blocks[0].attn.qkv
    delta = {part: (layer.B[part].double() @ layer.A[part].double()).detach() for part in "qv"}
    merge(model)
    wanted = plain.blocks[0].attn.qkv.weight.detach().double()
    wanted = torch.cat([wanted[:32] + delta["q"], wanted[32:64], wanted[64:] + delta["v"]])
    torch.testing.assert_close(model.blocks[0].attn.qkv.weight.double(), wanted, rtol=1e-6, atol=1e-8)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[name]) == (not name.endswith("attn.qkv.weight")), name


def test_the_adapter_equals_pefts_where_peft_can_express_it(plain, images):
    """PEFT knows one A and B a layer, so attn.proj, fc1 and fc2; lora_alpha = r leaves B A unscaled, as here."""
    ours = perturb(adapted(plain, rank=4))
    for block in ours.blocks:
        for matrix in block.attn.qkv.B.values():
            matrix.data.zero_()
    config = LoraConfig(r=4, lora_alpha=4, lora_dropout=0.0, target_modules=["attn.proj", "mlp.fc1", "mlp.fc2"])
    theirs = get_peft_model(copy.deepcopy(plain), config).eval()
    for theirs_block, block in zip(theirs.base_model.model.blocks, ours.blocks, strict=True):
        for path, part in [("attn.proj", "o"), ("mlp.fc1", "f1"), ("mlp.fc2", "f2")]:
            layer = theirs_block.get_submodule(path)
            layer.lora_A["default"].weight.data.copy_(block.get_submodule(path).A[part])
            layer.lora_B["default"].weight.data.copy_(block.get_submodule(path).B[part])
    with torch.no_grad():
        assert not torch.allclose(ours(images), plain(images), atol=1e-2)
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)
    merged = theirs.merge_and_unload().state_dict()
    for name, tensor in merge(ours).state_dict().items():
        torch.testing.assert_close(tensor, merged[name], rtol=1e-6, atol=1e-7)


# DoRA


def perturbed_dora(plain):
    return perturb(adapted(plain, kind="dora"))


def test_dora_starts_as_the_plain_student(plain, images):
    model = adapted(plain, kind="dora")
    assert sum(isinstance(module, DoRALinear) for module in model.modules()) == 4 * len(plain.blocks)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(images), plain.forward_features(images))


def test_dora_trains_one_number_an_output_row_more_than_lora():
    """ViT-B, r = 2, k = 128: 10,616,832 for A and B; per block 3 x 768 + 768 + 3,072 + 768 magnitudes."""
    architecture = Architecture().model_dump()
    with torch.device("meta"):
        model = add_lora(copy_weights(vit.build(architecture), architecture, 2), 128, "enhanced", "dora")
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == 10_616_832 + 6 * 6_912


def test_dora_scales_each_row_to_its_magnitude(plain):
    """W' = m (W + B A) / ||W + B A|| row by row, in float64, on each part of the fused layer."""
    layer = perturbed_dora(plain).blocks[1].attn.qkv
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(5))
    rows = []
    for position, part in enumerate("qkv"):
        weight = layer.base.weight[position * 32 : (position + 1) * 32].double()
        weight = weight + layer.B[part].double() @ layer.A[part].double()
        rows += [
            m * row / row.square().sum().sqrt() for m, row in zip(layer.magnitude[part].double(), weight, strict=True)
        ]
    wanted = x.double() @ torch.stack(rows).T + layer.base.bias.double()
    with torch.no_grad():
        torch.testing.assert_close(layer(x).double(), wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer.merged()(x).double(), wanted, rtol=1e-5, atol=1e-6)


def test_dora_equals_pefts_with_its_gradients(plain, images):
    """PEFT knows one A, B and magnitude a layer; its gradient takes the norm as a constant, as the DoRA paper does."""
    ours = perturbed_dora(plain)
    for block, untouched in zip(ours.blocks, plain.blocks, strict=True):
        block.attn.qkv = copy.deepcopy(untouched.attn.qkv).requires_grad_(False)
    pairs = [("attn.proj", "o"), ("mlp.fc1", "f1"), ("mlp.fc2", "f2")]
    config = LoraConfig(r=4, lora_alpha=4, lora_dropout=0.0, use_dora=True, target_modules=[path for path, _ in pairs])
    theirs = get_peft_model(copy.deepcopy(plain), config).eval()
    layers = []
    for theirs_block, block in zip(theirs.base_model.model.blocks, ours.blocks, strict=True):
        for path, part in pairs:
            other, own = theirs_block.get_submodule(path), block.get_submodule(path)
            matches = [
                (other.lora_A["default"].weight, own.A[part]),
                (other.lora_B["default"].weight, own.B[part]),
                (other.lora_magnitude_vector["default"].weight, own.magnitude[part]),
            ]
            for one, two in matches:
                one.data.copy_(two)
            layers += matches
    for model in (ours, theirs):
        model(images).square().sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    for one, two in layers:
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-5)
    merged = theirs.merge_and_unload().state_dict()
    for name, tensor in merge(ours).state_dict().items():
        torch.testing.assert_close(tensor, merged[name], rtol=1e-5, atol=1e-6)


def reference_block(block, x, heads):
    """A pre-norm transformer block with equations 1 to 4, head by head, in float64; absent adapters add nothing."""

    def linear(layer, part=None, rows=slice(None)):
        base = getattr(layer, "base", layer)
        weight, bias = base.weight.double(), base.bias.double()
        if part in getattr(layer, "A", {}):
            return lambda z: z @ weight[rows].T + bias[rows] + z @ layer.A[part].double().T @ layer.B[part].double().T
        return lambda z: z @ weight[rows].T + bias[rows]

    def norm(layer, z):
        centred = z - z.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        return scaled * layer.weight.double() + layer.bias.double()

    x = x.double()
    width = x.shape[-1]
    size = width // heads
    z = norm(block.norm1, x)
    q, k, v = (
        linear(block.attn.qkv, part, slice(i * width, (i + 1) * width))(z) for i, part in enumerate("qkv")
    )  # equation 1
    attended = []
    for head in range(heads):  # equation 2
        own = slice(head * size, (head + 1) * size)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(size)
        share = scores.exp() / scores.exp().sum(-1, keepdim=True)
        attended.append(share @ v[..., own])
    x = x + linear(block.attn.proj, "o")(torch.cat(attended, -1))  # equation 3
    hidden = linear(block.mlp.fc1, "f1")(norm(block.norm2, x))  # equation 4
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + linear(block.mlp.fc2, "f2")(hidden)


@pytest.mark.parametrize("targets", ["enhanced", "qv"])
def test_a_block_computes_equations_1_to_4(plain, targets):
    block = perturb(adapted(plain, targets), size=0.3).blocks[1]
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        wanted = reference_block(block, x, heads=2)
        torch.testing.assert_close(block(x).double(), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(block.double()(x.double()), wanted, rtol=1e-9, atol=1e-10)
        assert (plain.blocks[1](x).double() - wanted).abs().max() > 0.1


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_an_adapter_of_the_fused_layer_changes_its_own_part_only(plain, part):
    layer = adapted(plain).blocks[0].attn.qkv
    x = torch.randn(7, 32)
    with torch.no_grad():
        before = layer(x).chunk(3, -1)
        layer.B[part].normal_()
        after = layer(x).chunk(3, -1)
    changed = {name for name, old, new in zip("qkv", before, after, strict=True) if not torch.equal(old, new)}
    assert changed == {part}


def test_the_first_gradient_reaches_every_b_and_no_a(plain, images):
    """With B = 0 the gradient of A vanishes: the known start of LoRA."""
    model = adapted(plain)
    model.forward_features(images).square().sum().backward()
    for name, parameter in model.named_parameters():
        if ".B." in name:
            assert parameter.grad.abs().max() > 0, name
        elif ".A." in name:
            assert not parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("rank", [0, -1, 33])
def test_a_rank_outside_1_to_the_smaller_side_is_refused(plain, rank):
    with pytest.raises(BadInput, match=rf"k = {rank}: .*1\.\.32"):
        adapted(plain, rank=rank)


def test_the_largest_rank_is_the_smaller_side(plain):
    assert adapted(plain, rank=32).blocks[0].mlp.fc2.A["f2"].shape == (32, 128)
