"""Device, threads, and operations that are not deterministic."""

from __future__ import annotations

import platform
import sys
import warnings
from importlib.metadata import PackageNotFoundError

import numpy
import pytest
import torch

from wecolora.core import hardware


def test_a_job_gets_the_threads_that_the_rule_gives_it():
    before = torch.get_num_threads()
    try:
        assert hardware.device(2) in ("cpu", "cuda")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_operation_without_a_deterministic_algorithm_is_told_of(monkeypatch):
    before = torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(hardware, "not_deterministic", set())
    with warnings.catch_warnings(record=True) as others:
        try:
            hardware.deterministic()
            assert "not deterministic" not in hardware.environment("cpu")
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))  # the last one, or the first, wins
            warnings.warn("Memory Efficient attention defaults to a non-deterministic algorithm. To ...", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
            assert hardware.environment("cpu")["not deterministic"] == "Memory Efficient attention, put_"
        finally:
            torch.use_deterministic_algorithms(before)
    assert [str(warning.message) for warning in others] == ["something else"]


def test_the_environment_is_the_same_on_each_run_and_names_no_machine(tmp_path, monkeypatch):
    first = hardware.environment("cpu")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    assert hardware.environment("cpu") == first
    assert {"python", "device", "wecolora", "torch", "timm", "numpy", "pillow"} == set(first)
    assert first["numpy"] == numpy.__version__ and first["python"] == ".".join(map(str, sys.version_info[:3]))
    assert torch.__version__.startswith(first["torch"].split("+")[0])


def test_a_checkout_that_nobody_installed_has_an_environment(monkeypatch):
    def version(package):
        if package == "wecolora":
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(hardware, "version", version)
    found = hardware.environment("cpu")
    assert (found["wecolora"], found["torch"]) == ("not installed", "1")


def test_the_environment_tells_of_several_processes():
    assert hardware.environment("cpu", 4) == {**hardware.environment("cpu"), "processes": 4}


@pytest.mark.parametrize("before", [True, False])
def test_products_within_have_all_digits_of_float32_and_what_was_set_comes_back(before):
    matmul = torch.backends.cuda.matmul
    kept, matmul.allow_tf32 = matmul.allow_tf32, before
    try:
        with pytest.raises(KeyError), hardware.full_float32():
            assert not matmul.allow_tf32
            raise KeyError
        assert matmul.allow_tf32 is before
    finally:
        matmul.allow_tf32 = kept
