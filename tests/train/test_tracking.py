"""What is written of a run reads as if it had never stopped."""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sketch_jax.errors import InputError
from sketch_jax.train.event_files import EventFile, crc32c, encode_varint
from sketch_jax.train.tracking import Tracker, format_line, read_lines

ROOT = Path(__file__).parents[2]


def metrics_of(step: int) -> dict[str, float]:
    return {"train/loss": 1.0 / step, "train/accuracy": 0.1 * step}


def write_steps(directory: Path, first: int, last: int) -> None:
    """What a loop writes after each step: training metrics, and at every fourth a line of validation too."""
    with Tracker(directory, step=first - 1) as tracker:
        for step in range(first, last + 1):
            tracker.write(step, metrics_of(step))
            if step % 4 == 0:
                tracker.write(step, {"val/accuracy": 0.01 * step})


def lines_of(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def event_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("events.out.tfevents.*"))


def events_of(path: Path) -> list:
    """The events of a file, parsed by the messages of tensorboardX, every checksum tested."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    masked_crc32c = pytest.importorskip("tensorboardX.record_writer").masked_crc32c
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(body)
        events.append(event_pb2.Event.FromString(body))
        data = data[16 + length :]
    return events


def curve(directory: Path, tag: str) -> dict[int, float]:
    """What TensorBoard shows of a scalar: the start of a session voids what stood from its step on."""
    values: dict[int, float] = {}
    for path in event_files(directory):
        for event in events_of(path):
            if event.session_log.status:
                values = {step: value for step, value in values.items() if step < event.step}
            for item in event.summary.value:
                if item.tag == tag:
                    values[event.step] = item.simple_value
    return values


def test_each_write_is_a_line_on_disk_at_once(tmp_path):
    with Tracker(tmp_path, step=0) as tracker:
        tracker.write(10, {"train/loss": 0.1, "train/images": 640})
        assert (
            tmp_path / "metrics.jsonl"
        ).read_text() == '{"step": 10, "train/loss": 0.1, "train/images": 640}\n'
        tracker.write(10, {"val/accuracy": 0.5})
        assert lines_of(tmp_path)[1] == {"step": 10, "val/accuracy": 0.5}


def test_numbers_come_back_exactly(tmp_path):
    value = 0.1 + 0.2
    with Tracker(tmp_path, step=0) as tracker:
        tracker.write(1, {"a": value, "b": 1e-300})
    assert lines_of(tmp_path) == [{"step": 1, "a": value, "b": 1e-300}]


def test_a_value_that_json_lacks_becomes_null_and_stays_so_after_a_new_start(tmp_path):
    assert json.loads(format_line({"step": 1, "a": float("inf")}), parse_constant=pytest.fail)["a"] is None
    for _ in range(2):
        with Tracker(tmp_path, step=1) as tracker:
            tracker.write(1, {"a": float("nan"), "b": 2.0})
    assert lines_of(tmp_path) == [{"step": 1, "a": None, "b": 2.0}]


@pytest.mark.parametrize("stopped_at", [1, 4, 6, 8])
@pytest.mark.parametrize("saved_at", [0, 1, 4])
def test_a_run_that_goes_on_writes_the_lines_of_a_straight_one(tmp_path, saved_at, stopped_at):
    for name in ("straight", "resumed"):
        (tmp_path / name).mkdir()
    write_steps(tmp_path / "straight", 1, 8)
    write_steps(tmp_path / "resumed", 1, stopped_at)
    write_steps(tmp_path / "resumed", min(saved_at, stopped_at) + 1, 8)
    assert lines_of(tmp_path / "resumed") == lines_of(tmp_path / "straight")
    assert len(lines_of(tmp_path / "straight")) == 10
    for tag in ("train/loss", "val/accuracy"):
        assert curve(tmp_path / "resumed", tag) == curve(tmp_path / "straight", tag)


def test_a_line_of_the_saved_step_is_not_repeated_but_new_ones_of_it_are_written(tmp_path):
    write_steps(tmp_path, 1, 2)
    with Tracker(tmp_path, step=2) as tracker:
        tracker.write(2, metrics_of(2))
        tracker.write(2, {"val/accuracy": 0.5})
    assert [sorted(line) for line in lines_of(tmp_path)] == [
        ["step", "train/accuracy", "train/loss"],
        ["step", "train/accuracy", "train/loss"],
        ["step", "val/accuracy"],
    ]


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_line_cut_short_is_taken_back(tmp_path, cut):
    write_steps(tmp_path, 1, 3)
    path = tmp_path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    write_steps(tmp_path, 3, 5)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 4, 5]


def test_what_is_no_line_of_metrics_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "a": 1}\n\0\0\0\n[1]\n{"a": 2}\n\xff\xfe\n{"step": 2, "a": 3}\n')
    assert list(read_lines(path).values()) == [{"step": 1, "a": 1}, {"step": 2, "a": 3}]
    assert read_lines(tmp_path / "absent") == {}


WRITE_UNTIL_KILLED = """
import sys
from sketch_jax.train.tracking import Tracker

with Tracker(sys.argv[1], step=int(sys.argv[2])) as tracker:
    step = int(sys.argv[2])
    while True:
        step += 1
        tracker.write(step, {"train/loss": 1.0 / step, "train/accuracy": 0.1 * step})
        print(step, flush=True)
"""


def test_after_a_kill_no_line_is_lost_and_none_is_there_twice(tmp_path):
    written = 0
    for _ in range(3):
        saved = written * 2 // 3
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path), str(saved)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        written = int(out.split()[-1] if out.endswith("\n") else out.split()[-2])
        steps = [metrics["step"] for metrics in read_lines(tmp_path / "metrics.jsonl").values()]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= written > saved
    write_steps(tmp_path, written + 1, written + 2)
    lines = [line for line in lines_of(tmp_path) if "train/loss" in line]
    assert lines == [{"step": step, **metrics_of(step)} for step in range(1, written + 3)]


def test_event_files_are_read_by_the_messages_of_tensorboard(tmp_path):
    before = time.time()
    with Tracker(tmp_path, step=0) as tracker:
        tracker.write(300, {"train/loss": 0.3, "val/größe": -2, "bad": float("nan")})
    (path,) = event_files(tmp_path)
    version, start, scalars = events_of(path)
    assert version.file_version == "brain.Event:2"
    assert (start.session_log.status, start.step) == (start.session_log.START, 1)
    assert scalars.step == 300
    assert before <= scalars.wall_time <= time.time()
    values = {item.tag: item.simple_value for item in scalars.summary.value}
    assert values["train/loss"] == struct.unpack("<f", struct.pack("<f", 0.3))[0]
    assert values["val/größe"] == -2.0
    assert values["bad"] != values["bad"]


def test_an_event_file_of_a_later_start_sorts_after_the_earlier(tmp_path):
    for step in range(3):
        EventFile(tmp_path, step).close()
    first_steps = [events_of(path)[1].step for path in event_files(tmp_path)]
    assert first_steps == [0, 1, 2]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**62])
def test_whole_numbers_are_coded_as_protobuf_codes_them(value):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    assert event_pb2.Event(step=value).SerializeToString() == (
        b"\x10" + encode_varint(value) if value else b""
    )


def test_checksums_agree_with_those_of_tensorboardx():
    reference = pytest.importorskip("tensorboardX.crc32c").crc32c
    for data in (b"", b"\0", bytes(range(256)), b"events" * 99):
        assert crc32c(data) == reference(data)


def test_event_files_can_be_left_out(tmp_path):
    with Tracker(tmp_path, step=0, tensorboard=False) as tracker:
        tracker.write(1, metrics_of(1))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_full_disk_is_named_and_the_half_line_is_taken_back(tmp_path):
    write_steps(tmp_path, 1, 3)
    size = (tmp_path / "metrics.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Tracker(tmp_path, step=3, tensorboard=False) as tracker:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
        try:
            with pytest.raises(InputError, match=r"metrics.jsonl: cannot be written: File too large \("):
                tracker.write(4, metrics_of(4))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "metrics.jsonl").stat().st_size == size + 20
    write_steps(tmp_path, 4, 4)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 4]


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"absent/metrics.jsonl: cannot be written: No such file or directory"
    ):
        Tracker(tmp_path / "absent", step=0)


def test_tracking_loads_neither_tensorboardx_nor_torch():
    script = (
        "import sys, sketch_jax.train.tracking; "
        "print([name for name in ('tensorboardX', 'torch', 'jax', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
