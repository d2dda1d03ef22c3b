"""Which files of GPUs are found."""

from __future__ import annotations

import os

from tests.support.gpu_nodes import made_nodes

from modelry.sandbox.gpus import NO_GPUS, present


def test_nodes_and_what_their_driver_tells_are_found(tmp_path):
    names = ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1")
    folder = made_nodes(tmp_path, (*names, "nvidia-modeset", "nvidia-fs0", "sda"))
    (folder / "nvidia2").write_text("no device")
    told = tmp_path / "proc/driver/nvidia"
    told.mkdir(parents=True)
    (tmp_path / "sys/devices/pci0000:00").mkdir(parents=True)
    found = present(tmp_path)
    assert {str(path.relative_to(folder)) for path in found.devices} == set(names)
    assert found.count == 2
    assert found.readable == (told, tmp_path / "sys/devices/pci0000:00")


def test_without_a_gpu_there_is_nothing(tmp_path):
    assert present(tmp_path) == NO_GPUS
    made_nodes(tmp_path, ("nvidiactl", "null"))  # the driver is there, no GPU is
    assert present(tmp_path) == NO_GPUS


def test_groups_are_those_that_nodes_are_kept_for(tmp_path):
    folder = made_nodes(tmp_path)
    assert present(tmp_path).groups() == ()
    for name, group in (("nvidia0", 44), ("nvidiactl", 0)):
        os.chown(folder / name, 0, group)
        (folder / name).chmod(0o660)
    assert present(tmp_path).groups() == (44,)
