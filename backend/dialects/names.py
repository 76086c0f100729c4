"""What other programs call A1111's samplers and schedules."""

from __future__ import annotations

SAMPLERS: dict[str, str] = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "euler_a": "Euler a",
    "euler_cfg_pp": "Euler",
    "euler_ancestral_cfg_pp": "Euler a",
    "heun": "Heun",
    "heunpp2": "Heun",
    "lms": "LMS",
    "dpm_2": "DPM2",
    "kdpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "dpm_2_a": "DPM2 a",
    "kdpm_2_a": "DPM2 a",
    "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_2s": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2": "DPM++ 2M",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "ddim": "DDIM",
    "ddim_v3": "DDIM",
    "plms": "PLMS",
    "pndm": "PLMS",
    "uni_pc": "UniPC",
    "uni_pc_bh2": "UniPC",
    "unipc": "UniPC",
    "lcm": "LCM",
    "restart": "Restart",
}
"""ComfyUI, InvokeAI, SwarmUI, Fooocus and NovelAI, after the beginnings and ends below are taken off."""

SCHEDULES: dict[str, str] = {
    "normal": "Normal",
    "native": "Automatic",
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
    "simple": "Simple",
    "sgm_uniform": "SGM Uniform",
    "ddim_uniform": "DDIM",
    "beta": "Beta",
    "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps",
    "ays": "Align Your Steps",
    "turbo": "SGM Uniform",
}


LATENT_UPSCALERS: dict[str, str] = {
    "bilinear": "Latent",
    "area": "Latent (antialiased)",
    "bislerp": "Latent (bicubic)",
    "bicubic": "Latent (bicubic)",
    "nearest": "Latent (nearest)",
    "nearest_exact": "Latent (nearest-exact)",
}
"""ComfyUI's ways to enlarge latents. We have no "bislerp"; the bicubic way comes nearest."""
PIXEL_UPSCALERS: dict[str, str] = {"lanczos": "Lanczos", "nearest": "Nearest", "nearest_exact": "Nearest"}


def upscaler_of(method: str, *, latent: bool) -> str:
    """A1111's name for a way to enlarge latents or pixels. Pixels without a name of ours are enlarged by Lanczos."""
    key = method.strip().casefold().replace("-", "_")
    return (LATENT_UPSCALERS if latent else PIXEL_UPSCALERS).get(key, method if latent else "Lanczos")


def sampler_of(name: str) -> tuple[str, str | None]:
    """A1111's name, and the schedule if the name implies one ("dpmpp_2m_k" is DPM++ 2M with Karras).

    A name that is not known stays as it is.
    """
    bare = name.strip().casefold().replace("-", "_").replace(" ", "_")
    bare = bare.removeprefix("sample_").removeprefix("k_").removesuffix("_gpu")
    if bare in SAMPLERS:
        return SAMPLERS[bare], None
    if bare.endswith("_k") and bare[:-2] in SAMPLERS:
        return SAMPLERS[bare[:-2]], "Karras"
    return name, None


def schedule_of(name: str) -> str:
    """A1111's name; one that is not known stays as it is."""
    return SCHEDULES.get(name.strip().casefold().replace("-", "_").replace(" ", "_"), name)


def sampling(sampler: object, schedule: object = None) -> dict[str, str]:
    """The parameters "Sampler" and "Schedule type" for another program's two names, as far as they are text."""
    found: dict[str, str] = {}
    if isinstance(sampler, str) and sampler.strip():
        found["Sampler"], implied = sampler_of(sampler)
        if implied:
            found["Schedule type"] = implied
    if isinstance(schedule, str) and schedule.strip():
        found["Schedule type"] = schedule_of(schedule)
    return found
