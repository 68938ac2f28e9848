"""A pipeline of diffusers for the model in this folder.

    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
    samples = pipe(batch_size=16, num_inference_steps=100).samples

diffusers copies this file elsewhere; the network in `model.py` is therefore loaded from the folder that `from_pretrained` was
given.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput


@dataclass
class SamplesOutput(BaseOutput):
    """Samples [B, *shape] in the units of the data."""

    samples: torch.Tensor


class SamplesPipeline(DiffusionPipeline):
    """Draws samples by DDIM."""

    def __init__(self):
        super().__init__()
        self._model, self._device = None, torch.device("cpu")

    @property
    def model(self):
        """The `Model` of `model.py`, loaded on first use."""
        if self._model is None:
            folder = Path(self.config["_name_or_path"])
            spec = importlib.util.spec_from_file_location("exported_model", folder / "model.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._model = module.load(folder).to(self._device)
        return self._model

    def to(self, device):
        """Moves the model to a device. Its weights stay in float32."""
        self._device = torch.device(device)
        if self._model is not None:
            self._model.to(self._device)
        return self

    @property
    def device(self):
        return self._device

    @torch.no_grad()
    def __call__(self, batch_size=16, num_inference_steps=100, generator=None, latents=None, guidance_scale=1.0, **conditions):
        """`latents` [B, *shape] is standard normal noise, by default that of `generator`. The conditions are `label`, `vector`,
        `given` and `known` of `Model.conditions`."""
        samples = self.model.sample(
            batch_size, num_inference_steps, latents, generator, guidance=guidance_scale, **conditions
        )
        return SamplesOutput(samples=samples)
