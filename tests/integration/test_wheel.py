"""What pip installs, outside of any checkout: one command with all that it needs, beside packages of the user's own."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FEW = ["episodes=2", "timing_episodes=1", "pictures=false"]
TINY = [
    "steps=2", "train.batch_size=4", "train.compile=false", "train.precision=fp32", "train.validate_every=0",
    "time_to_goal.steps=2", "network.width=16", "network.depth=1", "network.heads=2", "tracker=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    """A virtual environment with the wheel, which borrows what is installed here but for this checkout itself."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (own,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path in a .pth file is searched, the .pth files that lie there, that of the editable install, are not read.
    (own / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    here = folder / "here"
    for name in ("envs", "planners", "configs", "studies"):  # a user's own
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise RuntimeError('this is not df-agent')\n")
    return folder


def call(place, *words):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "MINARI_DATASETS_PATH": str(place / "store")}
    command = [str(place / "venv" / "bin" / "df-agent"), *words]
    done = subprocess.run(command, cwd=place / "here", env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_is_small_and_holds_what_the_commands_need(wheel):
    assert wheel.stat().st_size < 45e6
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "df_configs/policy/oracle.yaml",
        "df_configs/train/env/any.yaml",
        "df_envs/time_optimal/maze2d-large.npz",
        "df_agent/pretrained/maze2d-large/model.safetensors",
        "df_agent/py.typed",
    ):
        assert name in names
    assert not any(name.startswith(("tests/", "studies/", "scripts/", "results/", "envs/")) for name in names)


def test_it_evaluates_collects_trains_compares_and_lists_where_no_checkout_is(place):
    said = call(place, "evaluate", "env=maze2d-umaze", *FEW)
    assert "ratio to oracle" in said
    assert "lower bound" in said
    assert "diffusion_forcing_v15" in call(place, "list", "policies")
    assert "steps from goal to goal" in call(place, "collect", "env=maze2d-umaze", "steps=2000")
    call(place, "train", "env=maze2d-umaze", *TINY)
    said = call(place, "evaluate", "env=maze2d-umaze", "checkpoint=runs/maze2d-umaze/final", "max_steps=20", *FEW)
    assert "success rate" in said
    said = call(
        place, "compare", "env=maze2d-umaze", "policies=oracle,random", "reference=oracle", "episodes=2", "seeds=0"
    )
    assert "Written to outputs/compare/maze2d-umaze" in said
    assert (place / "here" / "outputs" / "compare" / "maze2d-umaze" / "report.md").is_file()


@pytest.mark.slow  # downloads everything that it requires
def test_an_empty_environment_needs_nothing_but_the_wheel(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    cpu = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
    pins = ["-c", str(ROOT / "constraints.txt")]
    for wanted in ("torch", str(wheel)):  # the CPU build of torch first, or pip takes that with CUDA
        subprocess.run([python, "-m", "pip", "install", "-q", wanted, *pins, *cpu], check=True)
    (tmp_path / "here").mkdir()
    assert "ratio to oracle" in call(tmp_path, "evaluate", "env=maze2d-umaze", *FEW)
