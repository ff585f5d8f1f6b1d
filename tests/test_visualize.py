"""The static folder and the server that shows it; what a browser makes of them: the other file."""

from __future__ import annotations

import errno
import http.client
import io
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from omegaconf import OmegaConf
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifacts import ExportedModel, View
from pipeline.build import build_stage
from pipeline.cli import main
from pipeline.errors import ConfigError, MachineError, StageError
from pipeline.placement import Module, Placement
from pipeline.visualize import (
    Netron,
    asked_port,
    find_view,
    how_to_look,
    installed,
    should_open,
    show,
    viewer,
)
from pipeline.visualize.colours import ADAPTED, BASE, RUNS, UNTOUCHED, Ink, marks, roles
from pipeline.visualize.difference import before_and_after
from pipeline.visualize.modules import described
from pipeline.visualize.server import Server
from pipeline.visualize.studio import Studio

TITLE = 'Bert "tiny" <b>'
ADAPTER, BLOCK, HEAD = "layer.0.query", "layer.0", "classifier"
WIDTH = 16


PLACEMENT = Placement(
    kind="LORA", frozen=100, trainable=48, flops_per="token",
    modules=(
        Module(name="layer.0", type="BertLayer", role="frozen", why="no parameters of its own"),
        Module(
            name=ADAPTER, type="Linear", role="adapted", why="target_modules: query", kind="LORA",
            r=8, lora_alpha=16.0, scaling=2.0, frozen=50, trainable=32, flops=100, adapter_flops=64,
            update_norm=3.0, relative_update=0.25,
        ),
        Module(name="layer.0.key", type="Linear", role="frozen", why="no target", frozen=34),
        Module(
            name=HEAD, type="Linear", role="trained", why="modules_to_save: classifier", frozen=16,
            trainable=16, flops=32, update_norm=4.0, relative_update=0.5,
        ),
    ),
)  # fmt: skip


def tiny_base(file: Path) -> None:
    """Write the graph before: the same nodes by name, and no adapter."""
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("nn", 1)]
    query = helper.make_node("Add", ["x", "W"], ["y"], name=ADAPTER)
    block = helper.make_function("nn", "BertLayer_0", ["x", "W"], ["y"], [query], opset)
    graph = helper.make_graph(
        [
            helper.make_node("BertLayer_0", ["x", "W"], ["h"], name=BLOCK, domain="nn"),
            helper.make_node("Add", ["h", "W"], ["logits"], name=f"{HEAD}/Add"),
        ],
        TITLE,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [WIDTH])],
        [numpy_helper.from_array(np.ones(WIDTH, np.float32), "W")],
    )
    onnx.save(helper.make_model(graph, functions=[block], opset_imports=opset), file)


def tiny_view(file: Path) -> None:
    """Write a graph like the exporter's: block function, adapter inside, head trained in full."""
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("peft", 1)]
    opset.append(helper.make_opsetid("nn", 1))
    add = helper.make_node("Add", ["x", "lora_A"], ["y"], name="add")
    lora = helper.make_function("peft", "LoraLinear", ["x", "lora_A"], ["y"], [add], opset, ["r"])
    whole = helper.make_function("peft", "TrainedLinear", ["x", "weight"], ["y"], [
        helper.make_node("Add", ["x", "weight"], ["y"], name="add"),
    ], opset)  # fmt: skip
    query = helper.make_node(
        "LoraLinear", ["x", "A"], ["y"], name=ADAPTER, domain="peft", r=8, lora_alpha=16.0
    )
    block = helper.make_function("nn", "BertLayer_0", ["x", "A"], ["y"], [query], opset)
    weight = np.arange(WIDTH, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("BertLayer_0", ["x", "A"], ["h"], name=BLOCK, domain="nn"),
            helper.make_node("TrainedLinear", ["h", "W"], ["t"], name=HEAD, domain="peft"),
            helper.make_node("Relu", ["t"], ["logits"], name="relu"),
        ],
        TITLE,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [WIDTH])],
        [numpy_helper.from_array(weight, "A"), numpy_helper.from_array(weight + 1, "W")],
    )
    model = helper.make_model(graph, functions=[lora, whole, block], opset_imports=opset)
    onnx.save_model(
        model, file, save_as_external_data=True, location="adapted.onnx.data", size_threshold=0
    )


def exported(folder: Path, placement: Placement = PLACEMENT) -> ExportedModel:
    """Write what the stage reads into the new `folder`, and return it."""
    folder.mkdir(parents=True)
    tiny_view(folder / "view.onnx")
    tiny_base(folder / "base.onnx")
    placement.save(folder / "placement.json")
    return ExportedModel(
        view=folder / "view.onnx", base_view=folder / "base.onnx",
        placement=folder / "placement.json", test_metrics={"accuracy": 0.75, "macro_f1": 0.5},
    )  # fmt: skip


@pytest.fixture
def given(tmp_path: Path) -> ExportedModel:
    return exported(tmp_path / "5_export")


@pytest.fixture
def folder(tmp_path: Path, given: ExportedModel) -> Path:
    return make(given, tmp_path / "6_visualize")


def make(given: ExportedModel, folder: Path, *, weights: bool = True) -> Path:
    folder.mkdir()
    view = Netron(open="never", port=0, weights=weights, pictures="never").run(given, folder)
    assert view == View(folder=folder, open="never")
    return folder


# --- the folder


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_folder_holds_our_pages_the_graphs_one_netron_and_nothing_else(folder: Path) -> None:
    netron = {*installed.FILES, "models.js", "preset.js", "sync.js", "LICENSE-netron.txt"}
    pages = {
        "page.css",
        "page.js",
        "report.css",
        "report.js",
        "map.js",
        "tree.js",
        "rows.js",
        "compare.css",
        "compare.js",
    }
    models = {"adapted.onnx", "adapted.onnx.data", "base.onnx"}
    assert files(folder) == {
        "index.html", "compare.html", "placement.json",
        *(f"netron/{name}" for name in netron),
        *(f"page/{name}" for name in pages),
        *(f"models/{name}" for name in models),
    }  # fmt: skip
    assert "Copyright (c) Lutz Roeder" in (folder / "netron" / "LICENSE-netron.txt").read_text()


def test_netron_knows_the_schemas_of_the_operators_that_are_there(folder: Path) -> None:
    schemas = json.loads((folder / "netron" / "onnx-metadata.json").read_text())
    assert {each["name"] for each in schemas} == {"Add", "Relu"}


def test_graph_in_the_folder_is_whole(folder: Path, given: ExportedModel) -> None:
    model = onnx.load(folder / "models" / "adapted.onnx")  # with the values, by the name it gives
    weight = numpy_helper.to_array(model.graph.initializer[1])
    np.testing.assert_array_equal(weight, np.arange(WIDTH, dtype=np.float32) + 1)
    onnx.load(given.view)  # and so is the export: onnx would refuse weights that are a hard link


def test_without_weights_no_value_of_a_weight_is_in_the_folder(
    tmp_path: Path, given: ExportedModel
) -> None:
    inside = onnx.load(given.view)
    onnx.save_model(inside, given.view)  # all values in the file itself
    secret = (np.arange(WIDTH, dtype=np.float32) + 1).tobytes()
    assert secret in given.view.read_bytes()
    folder = make(given, tmp_path / "out", weights=False)
    assert all(secret not in (folder / name).read_bytes() for name in files(folder))
    assert "models/adapted.onnx.data" not in files(folder)
    shown = onnx.load(folder / "models" / "adapted.onnx", load_external_data=False)
    assert [list(each.dims) for each in shown.graph.initializer] == [[WIDTH], [WIDTH]]


def test_graph_that_has_no_values_is_shown(tmp_path: Path, given: ExportedModel) -> None:
    model = onnx.load(given.view, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "left-out"
    given.view.write_bytes(model.SerializeToString())
    assert "models/adapted.onnx" in files(make(given, tmp_path / "out"))


def test_everybody_may_read_the_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        wanted = 0o555 if file.is_dir() else 0o444
        assert stat.S_IMODE(file.stat().st_mode) & wanted == wanted


def test_no_file_names_a_path_of_this_machine(folder: Path, tmp_path: Path) -> None:
    private = [str(tmp_path), str(Path.home()), str(Path(viewer.__file__).parent), sys.prefix]
    for name in files(folder):
        content = (folder / name).read_bytes()
        assert not [path for path in private if len(path) > 5 and path.encode() in content]


def test_page_of_netron_sends_nothing_and_does_not_expire(folder: Path) -> None:
    page = (folder / "netron" / "index.html").read_text(encoding="utf-8")
    assert '<meta name="version" content="0.0.0">' in page
    assert '<meta name="date"' not in page
    assert "connect-src 'self'" in page
    scripts = re.findall(r'<script[^>]* src="(.*?)"', page)
    assert scripts == ["models.js", "preset.js", "sync.js", "index.js"]


def told(folder: Path) -> dict[str, Any]:
    """Return what `models.js` tells Netron's page."""
    script = (folder / "netron" / "models.js").read_text(encoding="utf-8")
    found = re.fullmatch(r"window\.__graft__ = (.*);\n", script)
    assert found
    models: dict[str, Any] = json.loads(found[1])["models"]
    return models


def test_netron_is_told_of_both_graphs_and_their_colours(folder: Path) -> None:
    models = told(folder)
    assert list(models) == ["adapted", "base"]
    assert models["adapted"]["title"] == TITLE
    for model in models.values():
        assert (folder / "netron" / model["file"]).is_file()
        assert model["marks"][0]["nodes"] == [ADAPTER]


# --- a Netron that we do not know


def test_installed_netron_is_the_one_that_our_page_relies_on() -> None:
    """Fails with the release of Netron that changes what we use, and names it."""
    viewer._page(installed.read(installed.find_netron(), "index.html"))
    installed.assert_known(installed.find_netron())


@pytest.mark.parametrize(
    ("file", "was", "why"),
    [
        ("index.html", '<meta name="version"', "index.html, not once"),
        ("index.html", "script-src 'self'", "index.html, not once"),
        ("view.js", "async _updatePath(model, stack)", "view.js has no 'async _updatePath"),
        ("index.js", "window.__view__", "index.js has no 'window.__view__"),
        ("onnx.js", None, "it has no onnx.js"),
    ],
)
def test_unknown_netron_is_warned_of_in_one_line_and_the_report_is_written(
    file: str,
    was: str | None,
    why: str,
    given: ExportedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = tmp_path / "netron"
    shutil.copytree(installed.find_netron(), other, ignore=shutil.ignore_patterns("*.py", "mlir*"))
    if was is None:
        (other / file).unlink()
    else:
        source = (other / file).read_text(encoding="utf-8")
        (other / file).write_text(source.replace(was, "something else"), encoding="utf-8")
    monkeypatch.setattr(viewer, "find_netron", lambda: other)
    folder = make(given, tmp_path / "out")
    (said,) = (each.getMessage() for each in caplog.records if each.levelname == "WARNING")
    assert re.search(
        r"^visualize: cannot use netron 9\.[\d.]+: .*pip install netron==9\.3\.3$", said
    )
    assert why in said
    assert {"index.html", "compare.html", "models/adapted.onnx"} <= files(folder)
    assert not (folder / "netron").exists()
    assert data_of(folder / "index.html")["graph"] is False


def data_of(page: Path) -> dict[str, Any]:
    """Return the data that a page of ours embeds."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_folder_without_netron_is_shown_in_its_stock_page(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.rmtree(folder / "netron")
    seen: list[bytes] = []

    def look_and_press_ctrl_c(seconds: float) -> None:
        if seconds < 3600:  # Netron's own thread
            return real(seconds)
        address = re.search(r"http://(\S+):(\d+)/$", caplog.messages[-1])
        assert address
        connection = http.client.HTTPConnection(address[1], int(address[2]), timeout=5)
        connection.request("GET", "/")
        seen.append(connection.getresponse().read())
        connection.close()
        raise KeyboardInterrupt

    real = time.sleep
    monkeypatch.setattr(time, "sleep", look_and_press_ctrl_c)
    show(View(folder=folder, open="never"))
    assert b"<title>Netron</title>" in seen[0]
    assert "The graph is at http://localhost:" in capsys.readouterr().out


def test_missing_netron_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MachineError, match="pip install netron"):
        installed.find_netron()


# --- what it cannot show


def test_nothing_to_show_is_said_before_anything_is_written(
    tmp_path: Path, given: ExportedModel
) -> None:
    given.view.unlink()
    with pytest.raises(StageError, match=r"view\.onnx does not exist; run the stage export again"):
        make(given, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_placement_that_cannot_be_read_is_named(tmp_path: Path, given: ExportedModel) -> None:
    given.placement.write_text('{"kind": "LORA"}')
    with pytest.raises(StageError, match=r"cannot read .*placement\.json .*run the stage export"):
        make(given, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"seed: 1\n", b"\xff" * 64])
def test_file_that_is_not_onnx_is_refused(
    tmp_path: Path, given: ExportedModel, content: bytes
) -> None:
    given.view.write_bytes(content)
    with pytest.raises(StageError, match=r"view\.onnx is not an ONNX file"):
        make(given, tmp_path / "out")


@pytest.mark.parametrize("location", ["../secret", "missing.data"])
def test_weights_elsewhere_are_refused(tmp_path: Path, given: ExportedModel, location: str) -> None:
    (tmp_path / "secret").write_text("x")
    model = onnx.load(given.view, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    given.view.write_bytes(model.SerializeToString())
    with pytest.raises(StageError, match=re.escape(repr(location))):
        make(given, tmp_path / "out")


# --- colours


def test_adapters_trained_modules_and_the_blocks_around_them_stand_out(
    given: ExportedModel,
) -> None:
    found = marks(onnx.load(given.view, load_external_data=False), {})
    assert {mark.text: mark.nodes for mark in found} == {
        "adapter (1)": (ADAPTER,),
        "trained in full (1)": (HEAD,),
        "block with adapters inside: click ƒ": (BLOCK,),
    }
    assert len({mark.colour for mark in found}) == 3


def test_the_same_modules_stand_out_in_the_base(given: ExportedModel) -> None:
    found = marks(onnx.load(given.base_view), roles(PLACEMENT), BASE)
    assert {mark.text: mark.nodes for mark in found} == {
        "gets an adapter (1)": (ADAPTER,),
        "gets trained in full (1)": (f"{HEAD}/Add",),  # a node inside of the module
        "block that gets adapters: click ƒ": (BLOCK,),
    }


def test_module_that_trains_where_nothing_was_inserted_stands_out(given: ExportedModel) -> None:
    """BitFit and full fine-tuning change no structure: only the placement tells of them."""
    found = marks(onnx.load(given.base_view), {ADAPTER: "trained"})
    assert {mark.text: mark.nodes for mark in found} == {
        "trained in full (1)": (ADAPTER,),
        "block with trained modules inside: click ƒ": (BLOCK,),
    }


def test_module_of_which_the_bias_alone_trains_is_not_said_to_train_in_full(
    given: ExportedModel,
) -> None:
    biased = replace(
        PLACEMENT,
        modules=tuple(
            replace(each, role="trained", why="bias", kind=None) if each.name == ADAPTER else each
            for each in PLACEMENT.modules
        ),
    )
    for inks, texts in (
        (ADAPTED, ["trained in full (1)", "bias trained (1)"]),
        (BASE, ["gets trained in full (1)", "gets its bias trained (1)"]),
    ):
        found = marks(onnx.load(given.base_view), roles(biased), inks)
        assert [mark.text for mark in found[:2]] == texts
        assert found[1].nodes == (ADAPTER,)
        assert "trained modules" in found[2].text
        assert len({mark.colour for mark in found}) == 3
    told = {each.name: (each.status, each.right) for each in before_and_after(biased)}
    assert told[ADAPTER] == ("bias", "bias trained, 32 train, update 25 %")
    (page,) = (each for each in described(biased, set()) if each["name"] == ADAPTER)
    assert page["change"] == "bias"


def test_what_an_adapter_adds_inside_itself_has_its_colour(given: ExportedModel) -> None:
    model = onnx.load(given.view, load_external_data=False)
    (lora,) = (each for each in model.functions if each.name == "LoraLinear")
    lora.node[0].name = "lora_A.default/Add"
    assert marks(model, {})[0].nodes == (ADAPTER, "lora_A.default/Add")
    assert marks(model, {})[0].text == "adapter (1)"


@pytest.mark.parametrize("ink", [*ADAPTED, *BASE, *RUNS, UNTOUCHED], ids=lambda ink: ink.text)
def test_white_text_can_be_read_on_every_colour(ink: Ink) -> None:
    """Source: WCAG 2.2, contrast ratio, at least 4.5 for text."""
    shares = [int(ink.colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares
    )
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5


# --- the config


def test_yaml_builds_the_stage() -> None:
    file = Path(__file__).parent.parent / "configs" / "visualize" / "netron.yaml"
    values = dict(OmegaConf.load(file))
    wanted = Netron(open="auto", port=0, weights=True, pictures="auto")
    assert build_stage("visualize", values) == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port": 70000}, r"visualize\.port: must be 0 to 65535, got 70000"),
        ({"port": -1}, r"visualize\.port: must be 0 to 65535, got -1"),
        ({"open": "maybe"}, r"visualize\.open: should be 'auto', 'always' or 'never'"),
        ({"pictures": "yes"}, r"visualize\.pictures: should be 'auto', 'always' or 'never'"),
        ({"weight": True}, r"visualize\.weight: unknown key; did you mean 'weights'\?"),
    ],
)
def test_wrong_setting_is_named(change: dict[str, object], message: str) -> None:
    values = {"_target_": "pipeline.visualize.Netron", "open": "auto", "port": 0, "weights": True}
    values["pictures"] = "auto"
    with pytest.raises(ConfigError, match=message):
        build_stage("visualize", {**values, **change})


def test_importing_the_stage_is_cheap() -> None:
    code = "import pipeline.visualize, sys; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "onnx", "netron", "http.server"} & set(told.stdout.split())


# --- the server


def ask(
    server: Server, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"localhost:{port_of(server)}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def raw(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def port_of(server: Server) -> int:
    return int(server.address.rstrip("/").rpartition(":")[2])


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small folder with a secret beside it and behind links."""
    site = tmp_path / "site"
    (site / "inner").mkdir(parents=True)
    (site / "index.html").write_text("the page")
    (site / "view.js").write_text("1")
    (site / "model.onnx").write_bytes(bytes(range(256)) * 1000)
    (site / "inner" / "index.html").write_text("the inner page")
    (tmp_path / "outside").mkdir()
    for secret in (tmp_path / "secret", tmp_path / "outside" / "secret"):
        secret.write_text("secret")
    (site / "link").symlink_to(tmp_path / "secret")
    (site / "inner" / "away").symlink_to(tmp_path / "outside")
    return site


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    with Server(site) as server:
        yield server


def test_address_is_local(server: Server) -> None:
    assert re.fullmatch(r"http://localhost:\d+/", server.address)


@pytest.mark.parametrize("path", ["/", "/index.html", "/?node=layer.0.query", "/index.html?cb=1"])
def test_page_is_served(server: Server, path: str) -> None:
    status, headers, body = ask(server, path)
    assert (status, body) == (200, b"the page")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Set-Cookie"].startswith("consent=1")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("view.js", "text/javascript; charset=utf-8"), ("model.onnx", "application/octet-stream")],
)
def test_files_have_their_type_and_length(server: Server, site: Path, name: str, kind: str) -> None:
    status, headers, body = ask(server, f"/{name}")
    assert (status, body, headers["Content-Type"]) == (200, (site / name).read_bytes(), kind)
    assert headers["Content-Length"] == str(len(body))


def test_head_answers_without_a_body(server: Server) -> None:
    status, headers, body = ask(server, "/", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "8", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    status, headers, _ = ask(server, "/", method=method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/inner/", "/inner/index.html", "/inner/?model=base"])
def test_folders_inside_are_served(server: Server, path: str) -> None:
    assert ask(server, path)[2] == b"the inner page"


@pytest.mark.parametrize(("said", "kept"), [(3, {"model.svg": b"svg"}), (1000, {})])
def test_only_a_whole_picture_is_taken(site: Path, said: int, kept: dict[str, bytes]) -> None:
    with Studio(site, way=(), seconds=5) as studio:
        path = studio.page.removeprefix(studio.address).replace("draw.html", "model.svg")
        head = f"PUT /{path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {said}\r\n\r\n"
        raw(studio, head.encode() + b"svg")
        assert studio.pictures == kept


def test_both_addresses_of_localhost_answer_on_one_port(server: Server) -> None:
    try:
        socket.create_connection(("::1", port_of(server)), timeout=5).close()
    except OSError as error:
        if error.errno != errno.ECONNREFUSED:
            pytest.skip("this machine has no IPv6")
        raise
    for address in ("127.0.0.1", "::1", "localhost"):
        connection = http.client.HTTPConnection(address, port_of(server), timeout=5)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"the page"
        connection.close()


def test_machine_without_ipv6_is_served_on_ipv4(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(family: int = -1, *others: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *others, **named)

    real = socket.socket
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", without)
        server = Server(site).__enter__()
    assert ask(server, "/")[2] == b"the page"
    server.__exit__()


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "LOCALHOST:1", "localhost:9000", "[::1]", "[::1]:9000"]
)
def test_names_of_this_machine_are_welcome(server: Server, host: str) -> None:
    assert ask(server, "/", host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "[::2]",
        "::1",
        "evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "localhost:x",
        "localhost@e",
    ],
)
def test_foreign_host_is_refused(server: Server, host: str) -> None:
    status, _, body = ask(server, "/", host=host)
    assert (status, body) == (403, b"403 Forbidden\n")


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: evil.example\r\n"])
def test_host_must_be_said_once(server: Server, hosts: bytes) -> None:
    assert raw(server, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n").startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret", "/%2e%2e/secret", "/..%2fsecret", "//../secret", "/./../secret",
        "/inner/away/secret", "/inner", "/inner/away/", "/inner//index.html", "/inner/../view.js",
        "/link", "/view.js/", "/nothing", "/view.js%00",
        "/..\\secret", "/%5c..%5csecret", "//etc/passwd", "/etc/passwd", "/.", "/..", "/%",
        "http://evil.example/index.html",
    ],
)  # fmt: skip
def test_only_the_files_of_the_folder_are_served(server: Server, path: str) -> None:
    status, _, body = ask(server, path)
    assert (status, body) == (404, b"404 Not Found\n")


def test_file_that_came_later_is_not_served(server: Server, site: Path) -> None:
    (site / "later.txt").write_text("secret")
    assert ask(server, "/later.txt")[0] == 404


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n", b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n",
        b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"GET / HTTP/1.1\r\nbroken",
        b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/x\r\n\r\n",
    ],
)  # fmt: skip
def test_strange_requests_print_nothing(
    server: Server, request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    raw(server, request_)
    assert ask(server, "/")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_client_that_leaves_early_prints_nothing(
    server: Server, site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (site / "model.onnx").write_bytes(bytes(8_000_000))
    with socket.create_connection(("127.0.0.1", port_of(server))) as connection:
        connection.sendall(b"GET /model.onnx HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(100)
    assert ask(server, "/")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_silent_client_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.visualize.server.Handler.timeout", 0.1)
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as connection:
        connection.sendall(b"GET / HT")
        assert connection.recv(100) == b""


def test_two_servers_serve_two_folders(site: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("the other page")
    with Server(site) as first, Server(tmp_path / "other") as second:
        assert ask(first, "/")[2] == b"the page"
        assert ask(second, "/")[2] == b"the other page"
        assert ask(second, "/view.js")[0] == 404


def test_port_in_use_says_what_to_set(server: Server, site: Path) -> None:
    port = port_of(server)
    with pytest.raises(MachineError, match=rf"visualize\.port: {port} is in use; choose another"):
        Server(site, port).__enter__()


def test_port_is_free_again_afterwards(site: Path) -> None:
    with Server(site) as first:
        port = port_of(first)
    with Server(site, port) as second:
        assert port_of(second) == port
        assert ask(second, "/")[0] == 200


# --- showing it


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("setting", "terminal", "environment", "browser", "expected"),
    [
        ("always", False, {"CI": "true"}, False, True),
        ("never", True, {"DISPLAY": ":0"}, True, False),
        ("auto", True, {"DISPLAY": ":0"}, True, True),
        ("auto", True, {"WAYLAND_DISPLAY": "wayland-0"}, True, True),
        ("auto", True, {"DISPLAY": ":0", "CI": "false"}, True, True),
        ("auto", True, {"DISPLAY": ":0", "CI": "true"}, True, False),
        ("auto", True, {"DISPLAY": ":0", "CI": "1"}, True, False),
        ("auto", True, {"DISPLAY": ""}, True, False),
        ("auto", True, {}, True, False),
        ("auto", True, {"DISPLAY": ":0"}, False, False),
        ("auto", False, {"DISPLAY": ":0"}, True, False),
    ],
)
def test_a_browser_is_opened_only_for_a_person(
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    terminal: bool,
    environment: dict[str, str],
    browser: bool,
    expected: bool,
) -> None:
    def get() -> None:
        if not browser:
            raise webbrowser.Error

    for name in ("CI", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, Terminal() if terminal else io.StringIO())
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "get", get)
    assert should_open(setting) is expected


@pytest.mark.parametrize(("setting", "opened"), [("always", 1), ("never", 0)])
def test_show_serves_until_ctrl_c(
    site: Path,
    setting: str,
    opened: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def press_ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    monkeypatch.setattr("time.sleep", press_ctrl_c)
    show(View(folder=site, open=setting))
    said = re.fullmatch(
        r"The graph is at (http://localhost:\d+/)\nPress Ctrl-C to stop\.\n",
        capsys.readouterr().out,
    )
    assert said
    assert addresses == [said[1]] * opened


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run with `latest` beside it, seen from the project folder."""
    run = tmp_path / "outputs" / "lora_bert" / "2026-11-23"
    (run / "6_visualize").mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    (run / "6_visualize" / "models").mkdir()
    for name in ("index.html", "models/adapted.onnx"):
        (run / "6_visualize" / name).write_text("\x08")  # how an ONNX file begins
    (run.parent / "latest").symlink_to(run.name, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.parametrize(
    "said",
    [
        "outputs/lora_bert/2026-11-23", "outputs/lora_bert/2026-11-23/6_visualize",
        "outputs/lora_bert/2026-11-23/manifest.json", "outputs/lora_bert/latest",
        "outputs/lora_bert", "latest",
    ],
)  # fmt: skip
def test_view_is_found_from(run: Path, said: str) -> None:
    assert find_view(Path(said)) == run / "6_visualize"


def test_missing_run_lists_those_that_exist(run: Path) -> None:
    with pytest.raises(
        StageError, match=r"outputs/lora does not exist; .* Runs here: outputs/lora_bert/latest"
    ):
        find_view(Path("outputs/lora"))


def test_link_that_leads_nowhere_is_passed_over(run: Path) -> None:
    for name in ("a", "z"):
        (run.parent.parent / name).mkdir()
        (run.parent.parent / name / "latest").symlink_to("deleted")
    assert find_view(run) == find_view(Path("latest")) == run / "6_visualize"
    with pytest.raises(StageError, match=r"Runs here: outputs/lora_bert/latest$"):
        find_view(Path("nowhere"))


@pytest.mark.parametrize(
    ("told", "port"),
    [
        ('{"stages": [{"stage": "visualize", "settings": {"port": 9000}}]}', 9000),
        ('{"stages": [{"stage": "visualize", "settings": {}}]}', 0),
        ('{"stages": []}', 0),
        ("not json", 0),
        (None, 0),
    ],
)
def test_port_is_that_of_the_run(run: Path, told: str | None, port: int) -> None:
    (run / "manifest.json").unlink()
    if told is not None:
        (run / "manifest.json").write_text(told)
    assert asked_port(run / "6_visualize") == port


@pytest.mark.parametrize(("given", "port"), [([], 9000), (["8000"], 8000)])
def test_open_takes_the_port_that_is_given_or_else_that_of_the_run(
    run: Path, given: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"stages": [{"stage": "visualize", "settings": {"port": 9000}}]}
    (run / "manifest.json").write_text(json.dumps(told))
    shown: list[View] = []
    monkeypatch.setattr("pipeline.visualize.show", shown.append)
    monkeypatch.setattr(sys, "argv", ["pipeline", "open", "latest", *given])
    main()
    assert shown == [View(folder=run / "6_visualize", open="auto", port=port)]


def test_run_without_a_view_says_what_was_looked_for(run: Path) -> None:
    (run / "6_visualize" / "index.html").unlink()
    with pytest.raises(StageError, match=r"no 6_visualize/index\.html\. .* start it again"):
        find_view(run)


def test_folder_that_is_no_run_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"It is no run; give a folder that has a manifest\.json$"):
        find_view(tmp_path)


def test_how_to_look_is_a_command_to_paste(run: Path) -> None:
    assert how_to_look(run).endswith("python -m pipeline open outputs/lora_bert/2026-11-23")
    assert how_to_look(Path("/some where")).endswith("python -m pipeline open '/some where'")


def test_what_is_printed_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAFT_COMMAND", raising=False)
    monkeypatch.setattr("sys.argv", ["/x/__main__.py"])
    assert "python -m pipeline open" in how_to_look(tmp_path)
    monkeypatch.setattr("sys.argv", ["/x/bin/graft"])
    assert " graft open" in how_to_look(tmp_path)
    monkeypatch.setenv("GRAFT_COMMAND", "scripts/run")
    assert " scripts/run open" in how_to_look(tmp_path)
