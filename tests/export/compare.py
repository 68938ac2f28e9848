"""Compares exported models in PyTorch, ONNX Runtime and diffusers with langevin itself.

    pip install torch onnx onnxruntime diffusers safetensors numpy
    python tests/export/compare.py LANGEVIN RUN...

For each run, it exports the model, draws samples with langevin from noise that is saved, and draws them in the other programs from
the same noise. Errors are the largest differences, relative to the range of the data. A run with a condition vector or known
values is followed by the files, as in RUN:vector.npy:given.npy, with "-" for none. Exits with 1 if an error is above 1e-5.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnx_samples
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from onnx_samples import COUNT, call, sample_error
from safetensors.torch import load_file, save_file

STEPS = 20


def main():
    langevin, runs = sys.argv[1], sys.argv[2:]
    worst = 0.0
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    for run in runs:
        with tempfile.TemporaryDirectory() as folder:
            errors = compare(langevin, *run.split(":"), folder=Path(folder))
        worst = onnx_samples.report(run, errors, worst)
    onnx_samples.finish(worst)


def load_module(folder):
    sys.path.insert(0, str(folder))
    sys.modules.pop("model", None)
    import model

    sys.path.pop(0)
    return model


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    return onnx_samples.session(path)


def conditions_of(config, vector, given, x):
    """Conditions for the samples, by name, and the options of `langevin sample` for them."""
    made, options = {}, []
    of = config["conditions"]
    if of["classes"]:
        made["label"] = (np.arange(COUNT) % of["classes"]).astype(np.int64)
    for name, option, path in [("vector", "--condition", vector), ("given", "--given", given)]:
        if path != "-":
            options += [option, f"{path}[0:{COUNT}]"]
            made[name] = np.load(path)[:COUNT].reshape(-1, *of[name]["shape"]).astype(np.float32)
    if of["gaps"]:
        made["known"] = np.where(np.random.default_rng(1).random(x.shape) < 0.5, np.nan, x).astype(np.float32)
    return made, options


def compare(langevin, run, vector="-", given="-", folder=None):
    def cpu(*arguments):
        return call(langevin, *arguments, "--device", "cpu")

    exported = folder / "exported"
    cpu("export", run, "--pytorch", exported, "--onnx", folder / "denoiser.onnx")
    config = json.loads((exported / "config.json").read_text())
    call(sys.executable, exported / "model.py", "--count", 2, "--steps", 2, "--out", folder / "drawn.npy")
    module = load_module(exported)
    model = module.load()
    errors = {f"PyTorch {name}": error for name, error in module.check(model, exported / "check.npz").items()}
    errors |= denoiser_errors(session(folder / "denoiser.onnx"), dict(np.load(exported / "check.npz")), config, model)
    errors["import"] = import_error(cpu, langevin, exported, folder)
    if config["task"] == "denoise":
        return errors

    cpu("sample", run, "--count", COUNT, "--save-noise", folder / "noise.npy", "--out", folder / "any.npy", "--steps", 2,
        *conditions_of(config, vector, given, np.zeros((COUNT, *config["shape"])))[1])
    noise = np.load(folder / "noise.npy")
    made, options = conditions_of(config, vector, given, np.load(folder / "any.npy"))
    tensors = {name: torch.from_numpy(values) for name, values in made.items()}

    def sampled(*more):
        out = folder / "samples.npy"
        if "known" in made:
            np.save(folder / "known.npy", made["known"])
            label = []
            if "label" in made:
                np.save(folder / "label.npy", made["label"])
                label = ["--labels", folder / "label.npy"]
            cpu("complete", run, folder / "known.npy", "--count", 1, "--out", out, *label, *more)
        else:
            cpu("sample", run, "--count", COUNT, "--noise", folder / "noise.npy", "--out", out, *options, *more)
        return np.load(out)

    def error(got, want):
        return sample_error(config, got, want)

    ddim = sampled("--sampler", "ddim", "--steps", STEPS)
    start = torch.from_numpy(noise)
    errors["PyTorch DDIM"] = error(model.sample(noise=start, steps=STEPS, **tensors), ddim)
    pipe = DiffusionPipeline.from_pretrained(str(exported), custom_pipeline=str(exported), trust_remote_code=True)
    errors["diffusers DDIM"] = error(pipe(latents=start, num_inference_steps=STEPS, **tensors).samples, ddim)
    inputs = {"noise": noise} | made
    samplers = [("unipc", ()), ("ddim", ("--steps", STEPS)), ("heun", ("--steps", 5))]
    if made and "known" not in made:
        samplers.append(("unipc", ("--guidance", 2)))
    for name, more in samplers:
        path = folder / "sampler.onnx"
        cpu("export", run, "--onnx", path, "--sampler", name, *more)
        (got,) = session(path).run(None, inputs)
        guided = " guided" if "--guidance" in more else ""
        errors[f"ONNX {name}{guided}"] = error(got, sampled("--sampler", name, *more))
    if made and "known" not in made:
        guided = sampled("--sampler", "ddim", "--steps", STEPS, "--guidance", 2)
        errors["PyTorch guided"] = error(model.sample(noise=start, steps=STEPS, guidance=2.0, **tensors), guided)
    return errors


def denoiser_errors(denoiser, example, config, model):
    """The errors of the ONNX network for the example of the export, and for another size of the batch."""
    x_t = model.units.restore(torch.from_numpy(example["x_t"])).numpy()
    names = [given.name for given in denoiser.get_inputs()]
    inputs = {"x_t": x_t, "noisy": x_t} | {name: example[name] for name in example if name != "x_t"}
    outputs = [out.name for out in denoiser.get_outputs()]
    got = dict(zip(outputs, denoiser.run(None, {name: inputs[name] for name in names})))
    two = dict(zip(outputs, denoiser.run(None, {name: inputs[name][1:3] for name in names})))

    def error(got, want):
        return float(np.max(np.abs(got - want)) / max(1.0, np.max(np.abs(want))))

    errors = {f"ONNX {name}": error(got[name], example[name]) for name in outputs}
    errors["ONNX batch of 2"] = error(two["clean"], got["clean"][1:3])
    return errors


def import_error(cpu, langevin, exported, folder):
    """Whether weights that PyTorch saved come back as they were: 0, or infinity."""
    again = folder / "again"
    shutil.copytree(exported, again)
    save_file(load_file(exported / "model.safetensors"), again / "model.safetensors")
    call(langevin, "import", again, "--out", folder / "imported")
    cpu("export", folder / "imported", "--pytorch", folder / "back")
    same = [(exported / name).read_bytes() == (folder / "back" / name).read_bytes() for name in ("model.safetensors", "check.npz")]
    return 0.0 if all(same) else float("inf")


if __name__ == "__main__":
    main()
