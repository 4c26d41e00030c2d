"""The `kuai` command."""

from __future__ import annotations

import re

import pytest

import kuai
from kuai import cli, demo
from kuai.data import digits


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "demo" in text
    assert "info" in text


def test_help_of_the_demo_names_its_options(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--out", "--epochs", "--seed"):
        assert option in text


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"kuai {kuai.__version__}\n"


def test_info_tells_versions_processor_and_threads(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"^kuai +{re.escape(kuai.__version__)}$", text, re.MULTILINE)
    for name in ("Python", "numpy", "processor", "threads"):
        assert re.search(rf"^{name} +\S", text, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["demo", "--epochs", "0"]])
def test_wrong_usage_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: kuai" in capsys.readouterr().err


def test_the_demo_learns_draws_keeps_and_reads(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "out"), "--epochs", "15"]) == 0
    text = capsys.readouterr().out
    assert "Residual" in text
    assert "reached" in text
    assert (tmp_path / "out" / "digits.svg").read_text(encoding="utf-8").startswith("<svg")

    net = demo.network()
    net.load_state_dict(kuai.load(tmp_path / "out" / "digits.safetensors"))
    assert demo.accuracy(net) >= demo.GOAL


def test_a_demo_that_misses_the_goal_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "GOAL", 1.1)
    assert cli.main(["demo", "--out", str(tmp_path), "--epochs", "1"]) == 1


def test_a_folder_that_cannot_be_made_is_an_error_and_no_traceback(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["demo", "--out", str(tmp_path / "file" / "out")]) == 1
    assert "kuai demo:" in capsys.readouterr().err


def test_a_digit_as_text():
    images, _ = digits(train=False, flatten=True)
    lines = demo.picture(images[0])
    assert len(lines) == 8
    assert {len(line) for line in lines} == {16}
    assert any("█" in line for line in lines)
