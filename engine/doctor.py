"""What works on this machine, found by trying it."""

import importlib.util
import platform
from functools import partial
from pathlib import Path

import torch

from engine.finding import Finding, tried
from engine.runtimes import examine_runtimes, installed_version

_OWN = ("mlrm", "kernels", "engine")
_REQUIRED = ("torch", "numpy", "pillow", "safetensors", "typer", "rich", "filelock")
_TRAINING = "matplotlib"
_KERNELS = "triton"
_EXPORT = {
    "onnx": "for export (extra onnx)",
    "onnxruntime": "to run exported models (extra onnx)",
    "onnxruntime-gpu": "to run exported models on a GPU (extra gpu)",
    "openvino": "to run exported models (extra openvino)",
    "tensorrt": "to build engines (extra trt)",
    "tensorrt-rtx-cu13": "to build engines without a GPU (extra trt-rtx)",
}
_SERVICE = ("fastapi", "uvicorn", "python-multipart", "prometheus-client")


def examine() -> list[Finding]:
    """Versions, devices, backends that were really run, and other packages that hide ours."""
    findings = [Finding("python", True, f"{platform.python_version()} on {platform.platform()}")]
    findings += [_needed(name) for name in _REQUIRED]
    findings.append(_optional(_TRAINING, note="for training (extra train)"))
    findings.append(_optional(_KERNELS, note="for search on a GPU (extra gpu)"))
    findings += [_optional(name, note=note) for name, note in _EXPORT.items()]
    findings += [_optional(name, note="for the service (extra serve)") for name in _SERVICE]
    findings += [_clash(name) for name in _OWN]
    findings += examine_runtimes()
    findings.append(tried("processor", _processor))
    findings.append(tried("search on the CPU", partial(_search_runs, "cpu")))
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            name = torch.cuda.get_device_name(number)
            findings.append(tried(f"search on cuda:{number} ({name})", partial(_search_runs, f"cuda:{number}")))
    else:
        findings.append(Finding("GPU", None, f"torch {torch.__version__} sees none"))
    findings.append(tried("shipped model", _shipped_model))
    return findings


def _needed(package: str) -> Finding:
    version = installed_version(package)
    return Finding(package, version is not None, version or f"not installed: pip install {package}")


def _optional(package: str, note: str) -> Finding:
    """A package that may be missing."""
    version = installed_version(package)
    return Finding(package, True if version else None, f"{version or 'not installed'}, {note}")


def _clash(package: str) -> Finding:
    spec = importlib.util.find_spec(package)
    here = Path(__file__).parent.parent / package
    found = Path(spec.origin).parent if spec and spec.origin else None
    if found == here:
        return Finding(f"package {package}", True, "ours")
    return Finding(
        f"package {package}",
        False,
        f"found at {found}, expected {here}: another package has the name; uninstall it, or use a virtual environment",
    )


def _processor() -> str:
    """What decides how fast it searches for many sketches, trains, and runs models in bfloat16."""
    from kernels.cpu.products import fastest
    from mlrm.devices import computes_bfloat16

    vectors = torch.backends.cpu.get_cpu_capability()
    product = fastest()
    many = f"many sketches at once by {product.upper()}" if product else "no integer product for many sketches at once"
    half = "bfloat16" if computes_bfloat16(torch.device("cpu")) else "no bfloat16: training takes float32"
    return f"{vectors}; {many}; {half}"


def _search_runs(device: str) -> str:
    """A small search on the device by the kernels that a `Retriever` would use there, against the definition."""
    from kernels import distance_topk
    from kernels.dispatch import automatic
    from kernels.reference import canonical_distance
    from mlrm.features import Features

    generator = torch.Generator().manual_seed(0)

    def features(count: int) -> Features:
        return Features(
            (torch.randn(count, 3, 64, generator=generator), torch.randn(count, 3, 128, generator=generator)),
            torch.rand(count, 3, generator=generator).softmax(1),
            torch.rand(count, 3, 2, generator=generator).softmax(2),
        )

    query, gallery = features(40), features(300)
    expected = canonical_distance(query, gallery).sort(dim=1, stable=True).indices[:, :10]
    for few in (query[:1], query):  # forms of the kernels for one sketch and for many
        found = distance_topk(few.to(device), gallery.to(device), 10)[1].cpu()
        wrong = int((found != expected[: len(few)]).sum())
        if wrong:
            raise RuntimeError(f"{wrong} of {found.numel()} ranks of {len(few)} sketches are wrong")
    return f"ranks right, by the kernels {automatic(torch.device(device))!r}"


def _shipped_model() -> str:
    from mlrm.checkpoint import load_shipped

    model = load_shipped()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{model.config.trunk}, {parameters / 1e6:.1f} M parameters, {model.fingerprint()[:16]}"
