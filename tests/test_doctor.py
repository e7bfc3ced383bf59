"""The doctor: what it says of a sound installation, and of everything that may be broken in one."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from terrascope import cli
from terrascope.doctor import Finding, finding, folders, libraries, machine, model_files

GIB = 2**30


def run_doctor(*arguments: str, **environment: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, "-m", "terrascope", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def of(lines: list[str], name: str) -> str:
    """The one line about a thing, such as `FAIL torch does not work`, with single spaces."""
    (line,) = [" ".join(line.split()) for line in lines if line.split()[1] == name]
    return line


@pytest.mark.weights
def test_a_sound_installation_is_told_line_by_line(tmp_path: Path) -> None:
    out = tmp_path / "not yet there"
    code, lines, errors = run_doctor("--out", str(out))
    assert (code, errors) == (0, "")
    assert {line.split()[0] for line in lines} <= {"OK", "WARN"}
    for name, package in (("torch", "torch"), ("transformers", "transformers"), ("rasterio", "rasterio")):
        assert of(lines, name).startswith(f"OK {name} {metadata.version(package)}")
    assert "with GTiff, JP2OpenJPEG, PNG, JPEG, COG" in of(lines, "rasterio")
    assert "nano: 461 tensors, all finite; 10.2 million parameters" in of(lines, "model")
    assert f"{out} can be made" in of(lines, "output")
    assert list(tmp_path.iterdir()) == []


def test_a_torch_that_kills_its_process_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os\nos.abort()\n")
    code, lines, errors = run_doctor("--out", str(tmp_path), PYTHONPATH=str(tmp_path))
    assert (code, errors) == (1, "")
    assert of(lines, "torch").startswith("FAIL torch does not work (the process died of SIGABRT): pip install")
    assert "its files are sound" in of(lines, "model") and of(lines, "model").startswith("FAIL")
    assert of(lines, "rasterio").startswith("OK")


def test_libraries_that_cannot_be_imported_hide_nothing(tmp_path: Path) -> None:
    for name in ("torch", "rasterio", "cv2", "numpy", "huggingface_hub", "packaging"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('lib{name}.so: cannot open shared object file')\n")
    code, lines, errors = run_doctor("--out", str(tmp_path), "--json", PYTHONPATH=str(tmp_path))
    assert (code, errors) == (1, "")
    told = {entry["name"]: entry for entry in json.loads("\n".join(lines))}
    for name, library in (
        ("torch", "torch"),
        ("rasterio", "rasterio"),
        ("opencv-python-headless", "cv2"),
        ("python", "packaging"),
        ("cache folder", "huggingface_hub"),
        ("model", "numpy"),
    ):
        assert told[name]["status"] == "FAIL"
        assert f"lib{library}.so: cannot open shared object file" in told[name]["found"]
        assert told[name]["advice"]
    assert told["memory"]["status"] in ("OK", "WARN")
    assert told["output folder"]["status"] in ("OK", "WARN")


def test_a_torchvision_that_does_not_fit_is_named_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    about = tmp_path / "torchvision-0.20.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.20.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = libraries.check_torchvision()
    assert (found.name, found.status) == ("torchvision", "FAIL")
    assert f"torchvision 0.20.0 lies beside torch {metadata.version('torch')}" in found.found
    assert found.advice.startswith("pip uninstall torchvision")


def test_a_torchvision_that_fits_is_only_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "probe", lambda code: "5.23.0")
    monkeypatch.setattr(libraries, "find_spec", lambda name: object())
    assert [found.status for found in libraries.check_torchvision()] == ["OK", "WARN"]
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    assert [found.status for found in libraries.check_torchvision()] == ["OK"]


def test_requirements_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=1", "rich<0.1", "no-such-thing>=2", "hypothesis<1; extra == 'dev'", "scipy; python_version < '3'"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    assert [(found.name, found.status, found.advice) for found in libraries.check_requirements()] == [
        ("rich", "FAIL", "pip install 'rich<0.1'"),
        ("no-such-thing", "FAIL", "pip install 'no-such-thing>=2'"),
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=1"])
    (found,) = libraries.check_requirements()
    assert (found.status, found.found) == ("OK", "all 1 libraries are in their ranges")


def test_foreign_projection_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in libraries.PROJ_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROJ_LIB", str(tmp_path))
    (found,) = libraries.check_projections()
    assert found.status == "FAIL"
    assert f"PROJ_LIB={tmp_path}" in found.found
    assert found.advice.startswith("unset PROJ_LIB")
    monkeypatch.setenv("PROJ_LIB", "/foreign")
    monkeypatch.setattr(libraries, "probe", lambda code: ["3.7", "9.5", "/own"])
    assert libraries.check_projections()[0].status == "WARN"


@pytest.mark.parametrize(("lacking", "status"), [("JP2OpenJPEG", "WARN"), ("COG", "FAIL"), ("PNG", "FAIL")])
def test_missing_formats(lacking: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = [name for name in ("COG", "GTiff", "JP2OpenJPEG", "JPEG", "PNG") if name != lacking]
    monkeypatch.setattr(libraries, "probe", lambda code: ["1.4", "3.9", drivers])
    (found,) = libraries.check_rasterio()
    assert (found.status, found.found) == (status, f"1.4, GDAL 3.9 without {lacking}")


def test_a_probe_tells_how_it_ended() -> None:
    assert finding.probe("print('noise'); print('[1, 2]')") == [1, 2]
    for code, reason in (
        ("raise ValueError('no\\nway')", "way"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the process died of SIGSEGV"),
        ("raise SystemExit('one sentence')", "one sentence"),
    ):
        with pytest.raises(finding.ProbeError, match=reason):
            finding.probe(code)
    with pytest.raises(finding.ProbeError, match=r"took more than 0\.2 s"):
        finding.probe("import time; time.sleep(30)", seconds=0.2)


def test_what_is_not_well_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="must say what to do"):
        Finding(name="x", status="FAIL", found="broken")
    assert str(Finding(name="gpu", status="WARN", found="none", advice="buy one")) == (
        "WARN  gpu               none: buy one"
    )


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The root of a system with 8 GiB available and no control group."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:  {8 * GIB // 1024} kB\n")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "files", "gib", "status"),
    [
        ("", {}, 8, "OK"),
        ("0::/", {"memory.max": "max", "memory.current": "5"}, 8, "OK"),
        ("0::/", {"memory.max": f"{3 * GIB}", "memory.current": f"{GIB // 2}"}, 2.5, "WARN"),
        ("0::/a/b", {"a/memory.max": f"{2 * GIB}", "a/memory.current": f"{3 * GIB // 2}"}, 0.5, "FAIL"),
        (
            "4:memory:/job",
            {
                "memory/job/memory.limit_in_bytes": f"{3 * GIB}",
                "memory/job/memory.usage_in_bytes": "0",
                "memory/memory.limit_in_bytes": f"{2**63 - 4096}",
                "memory/memory.usage_in_bytes": "0",
            },
            3,
            "WARN",
        ),
    ],
)
def test_memory_is_the_least_of_all_limits(
    system: Path, line: str, files: dict[str, str], gib: float, status: str
) -> None:
    (system / "proc/self/cgroup").write_text(f"{line}\n" if line else "")
    for name, number in files.items():
        path = system / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")
    (found,) = machine.check_memory(system)
    assert found.status == status
    assert found.found.startswith(f"{gib:.1f} GiB free")


def test_more_threads_than_cpus_are_warned_of(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "proc/cpuinfo").write_text("flags : fpu avx2 avx512f avx512_bf16 amx_bf16\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (found,) = machine.check_processor(system)
    assert found.status == "OK"
    assert "2 usable CPUs, AMX bf16, AVX-512 bf16, AVX-512, AVX2" in found.found
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.check_processor(system)[0].status == "WARN"


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = folders.check_output(str(tmp_path / "a" / "b"))
    assert found.status in ("OK", "WARN") and "can be made" in found.found
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    (found,) = folders.check_output(str(tmp_path / "file" / "out"))
    assert (found.status, found.advice) == ("FAIL", "give another folder with --out")
    room = {"free": GIB}
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: type("Usage", (), room))
    assert folders.check_output(str(tmp_path))[0].status == "WARN"
    room["free"] = GIB // 100
    assert folders.check_output(str(tmp_path))[0].status == "FAIL"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(folders.tempfile, "tempdir", None)
    (found,) = folders.check_temporary()
    assert found.found.startswith(f"{tmp_path} can be written")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="wants a folder that nobody can write to")
def test_a_folder_that_refuses_files() -> None:
    (found,) = folders.check_output("/proc/self/out")
    assert found.status == "FAIL"
    assert "cannot be written" in found.found or "not writable" in found.found


def write_weights(path: Path, tensors: dict[str, tuple[str, list[int], bytes]], **extra: Any) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(data)]}
        place += len(data)
    header |= extra
    text = json.dumps(header).encode()
    body = len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())
    path.write_bytes(body)
    return body


SOUND = {
    "a": ("F32", [2], struct.pack("<2f", 1.0, -3.4e38)),
    "b": ("BF16", [1, 2], bytes([0x80, 0x3F, 0x7F, 0x7F])),
    "c": ("I64", [0], b""),
    "d": ("F16", [1], bytes([0xFF, 0x7B])),
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are sound; that it loads is taken for granted."""
    (tmp_path / "config.json").write_text('{"model_type": "terrascope"}')
    (tmp_path / "processor_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    write_weights(tmp_path / "model.safetensors", SOUND)
    monkeypatch.setattr(model_files, "probe", lambda code, **how: 2_500_000)
    return tmp_path


def check(folder: Path) -> tuple[str, str]:
    (found,) = model_files.check_model(str(folder))
    return found.status, found.found


def test_sound_files_of_a_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, found = check(model)
    assert status == "OK"
    assert found == f"{model}: 4 tensors, all finite; 2.5 million parameters, loads in 0 s"
    monkeypatch.setattr(model_files, "READING_SECONDS", -1.0)
    assert "all finite (4 not read, to save time)" in check(model)[1]


def test_a_model_in_parts(model: Path) -> None:
    (model / "model.safetensors").rename(model / "part-1.safetensors")
    write_weights(model / "part-2.safetensors", {"e": ("F64", [1], struct.pack("<d", 1e308))})
    index = {"weight_map": {"a": "part-1.safetensors", "b": "part-1.safetensors", "e": "part-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "5 tensors, all finite" in check(model)[1]
    (model / "part-2.safetensors").unlink()
    assert check(model) == ("FAIL", f"{model}: {model / 'part-2.safetensors'} is missing")


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file(model: Path, name: str) -> None:
    (model / name).unlink()
    assert check(model) == ("FAIL", f"{model}: {model / name} is missing")


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is no JSON"), ("[]", "holds no JSON object"), ('{"model_type": "bert"}', "'bert'")]
)
def test_a_damaged_configuration(model: Path, content: str, said: str) -> None:
    (model / "config.json").write_text(content)
    status, found = check(model)
    assert status == "FAIL" and said in found


def test_a_released_checkpoint_is_sound_without_a_processor(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "sa2va_chat"}')
    (model / "processor_config.json").unlink()
    status, found = check(model)
    assert status == "OK" and found.endswith("all finite; a released checkpoint, imported at its first use")


def test_a_released_checkpoint_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sa2va_chat", "vision_config": 7}')
    write_weights(tmp_path / "model.safetensors", SOUND)
    status, found = check(tmp_path)
    assert status == "FAIL" and found.endswith(
        f"cannot be imported ({tmp_path}: has no tokenizer.json; fetch the tokenizer too)"
    )


def test_both_caches_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRASCOPE_CACHE", str(tmp_path / "cache"))
    hub, imports = folders.check_cache()
    assert (hub.name, imports.name) == ("cache folder", "imports folder")
    assert imports.found.startswith(f"{tmp_path / 'cache'} can be made, ")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TERRASCOPE_CACHE", str(tmp_path / "file"))
    assert folders.check_cache()[1].status == "WARN"
    assert folders.check_cache()[1].advice.startswith("set TERRASCOPE_CACHE to a folder with room")


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F32", struct.pack("<f", float("nan"))),
        ("F64", struct.pack("<d", float("-inf"))),
        ("F16", bytes([0x00, 0x7C])),
        ("BF16", bytes([0xC0, 0xFF])),
    ],
)
def test_numbers_that_are_none(model: Path, dtype: str, data: bytes) -> None:
    write_weights(model / "model.safetensors", {**SOUND, "z": (dtype, [1], data)})
    status, found = check(model)
    assert status == "FAIL" and "tensor z holds NaN or infinity" in found


def test_weights_that_are_cut_short_or_lie(model: Path) -> None:
    path = model / "model.safetensors"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert check(model)[0] == "FAIL", length
    path.write_bytes(whole + b"\0")
    assert "bytes, but its tensors need" in check(model)[1]
    for entry in (
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        [],
    ):
        write_weights(path, SOUND, z=entry)
        assert check(model)[0] == "FAIL", entry


def test_a_model_that_does_not_load(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(code: str, **how: Any) -> None:
        raise finding.ProbeError("the weights lack x and 2 more tensors")

    monkeypatch.setattr(model_files, "probe", fail)
    status, found = check(model)
    assert status == "FAIL"
    assert "4 tensors, all finite" in found and "the weights lack x and 2 more tensors" in found


@pytest.mark.parametrize(("name", "status"), [("owner/unheard-of", "WARN"), ("giant", "FAIL"), ("", "FAIL")])
def test_a_model_that_is_not_here(name: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = model_files.check_model(name)
    assert (found.status, found.found) == (status, f"{name!r} is not on this machine")


def test_a_check_that_fails_itself_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> list[Finding]:
        raise RuntimeError("out of\ncheese")

    monkeypatch.setattr(libraries, "probe", lambda code: (_ for _ in ()).throw(finding.ProbeError("gone")))
    monkeypatch.setattr(libraries, "check_python", fail)
    monkeypatch.setattr(model_files, "probe", lambda code, **how: 1)
    result = CliRunner().invoke(cli.app, ["doctor", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told[0]["found"] == "could not be checked: RuntimeError: out of cheese"
    assert [entry["status"] for entry in told if entry["name"] == "output folder"] != ["FAIL"]
    assert {entry["name"] for entry in told} >= {"python", "torch", "rasterio", "pyproj", "memory", "model"}


@pytest.mark.parametrize(("status", "code"), [("OK", 0), ("WARN", 0), ("FAIL", 1)])
def test_only_failures_change_the_exit_code(status: Any, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Finding(name="thing", status=status, found="so", advice="do")
    monkeypatch.setattr("terrascope.doctor.examine", lambda model, out: [found])
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert (result.exit_code, result.stdout) == (code, f"{found}\n")
