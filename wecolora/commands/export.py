"""Write a student in a form that other programs load, and check that its features are the same.

example:
  wecolora export results/mine/runs/small/wecolora_r2_k64_a100_s0 exported --to hf onnx

  hf     model.safetensors and config.json: timm.create_model("local-dir:exported", pretrained=True) needs no more,
         and neither does Hugging Face's hub; the model's pretrained_cfg says how images are prepared
  onnx   model.onnx, for onnxruntime and others: any number of images, which you resize, crop and normalise
  torch  model.pt2 of torch.export, likewise
"""

from __future__ import annotations

import argparse

FORMS = ("hf", "onnx", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("student", metavar="STUDENT", help="a run's folder, or its student.safetensors")
    parser.add_argument("folder", metavar="DIR", help="a folder that is empty or does not exist yet")
    parser.add_argument(
        "--to", nargs="+", action="extend", choices=FORMS, required=True, metavar="FORM", help=", ".join(FORMS)
    )


def run(arguments: argparse.Namespace) -> None:
    """Export the student; raise BadInput if it cannot be had in one of the forms."""
    from wecolora.models.forms import export  # torch
    from wecolora.models.student import read_student

    student = read_student(arguments.student)
    written = export(student, arguments.folder, list(dict.fromkeys(arguments.to)))
    print(f"{student.weights}: {len(student.model.blocks)} blocks, {student.parameters / 1e6:.3g} million parameters.")
    for one in written:
        print(
            f"{one.form}: {one.about}; its features differ from the student's by up to {one.difference:.1e} "
            f"(the largest is {one.largest:.3g})."
        )
    if {"onnx", "torch"} & {*arguments.to}:
        print("Neither model.onnx nor model.pt2 resizes, crops or normalises images; README.md says how to.")
    print(f"Written to {arguments.folder}, with a model card (README.md); its licence is yours to fill in.")
