"""What a person sees: the real folder, our real server, headless Chromium.

Netron's page is not an interface anybody promised to keep. These tests find out when it moves.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import netron
import pytest
import torch
from PIL import Image
from playwright.sync_api import (
    Browser,
    Error,
    FrameLocator,
    Locator,
    Page,
    Request,
    Response,
    Route,
    expect,
    sync_playwright,
)

from pipeline.artifacts import AdaptedModel, ExportedModel
from pipeline.data.preview import lengths_of, preview_of
from pipeline.data.preview import save as put_preview
from pipeline.export.graph import fold, save, trace
from pipeline.export.picture import Architecture, bare
from pipeline.placement import Module, Placement
from pipeline.tasks.shown import Part, Shown
from pipeline.visualize import Netron, compare
from pipeline.visualize.server import Server

pytestmark = pytest.mark.browser

BLOCK = "bert.encoder.layer.1"
ADAPTER = f"{BLOCK}.attention.self.query"
TITLE = "Tiny BERT & LoRA"
EVIL = "</script><img src=x onerror=alert(1)> &amp;"

# As root, as in a container, Chromium does not start with its sandbox.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
# Netron replaces window.eval, which Playwright needs for whatever it evaluates in the page.
KEEP_EVAL = """
    const original = window.eval;
    Object.defineProperty(window, 'eval', { get: () => original, set: () => {} });
"""


@pytest.fixture(scope="module")
def folder(adapted: AdaptedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static folder of a BERT of two layers with LoRA on query and value."""
    export, run = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("run")
    inputs = {name: torch.ones(2, 8, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    axes = {name: {0: "batch", 1: "tokens"} for name in inputs}
    flat = trace(adapted.load(), inputs, axes, opset=20)
    save(flat, export / "adapted.onnx", weights="adapted.onnx.data")
    placement = with_updates_made_up(adapted.placement)
    placement.save(export / "placement.json")
    view = fold(flat, placement, title=TITLE, facts={})
    save(view, export / "view.onnx", weights="adapted.onnx.data")
    plain = adapted.base.architecture(adapted.labels)
    before = Architecture(plain, inputs, axes, opset=20)
    save(
        before.view(bare(plain, before.operations, before.per), title=TITLE, facts={}),
        export / "base.onnx",
        weights=None,
    )
    save_rows(export / "preview.json")
    given = ExportedModel(
        view=export / "view.onnx", base_view=export / "base.onnx",
        placement=export / "placement.json", preview=export / "preview.json",
    )  # fmt: skip
    (run / "6_visualize").mkdir()
    stage = Netron(open="never", port=0, weights=True, pictures="auto")
    return stage.run(given, run / "6_visualize").folder


def save_rows(file: Path) -> None:
    """Write a preview with a row of each kind that there is."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    parts = (
        Part(name="text", text=EVIL), Part(name="image", image=stream.getvalue()),
        Part(name="words", words=[("Oslo", "B-LOC"), ("is", "O")]),
        Part(name="talk", turns=[("user", EVIL), ("assistant", "yes")]),
    )  # fmt: skip
    row = Shown(parts=parts, label=EVIL)
    train = preview_of(3, [row, row], [7, 12], [EVIL, EVIL, "calm"])
    put_preview(file, {"train": train, "test": preview_of(1, [row], None, ["calm"])},
                lengths_of([7, 7, 12], [False, False, True], 12))  # fmt: skip


def with_updates_made_up(placement: Placement) -> Placement:
    """Return the placement as if training had changed each module twice as much as the last."""
    modules: list[Module] = []
    for module in placement.modules:
        relative = 0.01 * 2 ** sum(each.relative_update is not None for each in modules)
        known = module.role != "frozen"
        modules.append(replace(module, relative_update=relative if known else None))
    return replace(placement, modules=tuple(modules))


@pytest.fixture(scope="module")
def graph(address: str) -> str:
    """The page of Netron alone."""
    return f"{address}netron/"


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with Server(folder) as server:
        yield server.address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of the system, or else Playwright's own; `scripts/test` and CI must have one."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        except Error as error:
            said = f"no Chromium that starts: {error.message.splitlines()[0]}"
            if os.environ.get("GRAFT_BROWSER", os.environ.get("CI")) in ("required", "true"):
                pytest.fail(said)
            pytest.skip(said)
        yield browser
        browser.close()


@contextmanager
def visit(chromium: Browser) -> Iterator[tuple[Page, list[str]]]:
    """Give a page of a browser that was never here, and the list of what went wrong on it.

    On the list: requests to other machines, which are not let through, errors on the console,
    exceptions and answers that are not 200.
    """
    wrong: list[str] = []

    def let_through(route: Route, request: Request) -> None:
        scheme, host = urlsplit(request.url).scheme, urlsplit(request.url).hostname
        if host in ("localhost", "127.0.0.1") or scheme in ("data", "blob", "file"):
            route.continue_()
        else:
            wrong.append(f"request to {request.url}")
            route.abort()

    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.route("**/*", let_through)
    page = context.new_page()
    page.add_init_script(KEEP_EVAL)
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "response",
        lambda answer: None if fine(answer) else wrong.append(answer.url),
    )
    page.set_default_timeout(15_000)
    try:
        yield page, wrong
    finally:
        context.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page on which nothing may go wrong in the whole test."""
    with visit(chromium) as (page, wrong):
        yield page
    assert wrong == []


def fine(answer: Response) -> bool:
    """Whether an answer is a page, or the word that the browser has it already (304)."""
    return answer.ok or answer.status == 304 or "file:" in answer.url


def show(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("body.default .graph-node").first.wait_for()


def node(page: Page, name: str) -> str:
    return f'.graph-node[id="node-name-{name}"]'


def colour(page: Page, name: str) -> str:
    title = page.locator(f"{node(page, name)} > .node-item > path").first
    return str(title.evaluate("element => getComputedStyle(element).fill"))


def enter(page: Page, name: str) -> None:
    page.locator(node(page, name)).get_by_text("ƒ", exact=True).click()
    page.locator(node(page, name)).wait_for(state="detached")


def titles(page: Page) -> list[str]:
    return page.locator(".graph-node .node-item text").all_text_contents()


def properties(page: Page) -> dict[str, str]:
    """Return the lines of the side bar."""
    page.locator(".sidebar-item").first.wait_for()
    return {
        line.locator(".sidebar-item-name input").input_value(): line.locator(
            ".sidebar-item-value-list"
        ).inner_text()
        for line in page.locator(".sidebar-item").all()
    }


def test_whole_graph_opens_with_no_wall_and_no_word_to_others(page: Page, graph: str) -> None:
    show(page, graph)
    expect(page.locator("#message-text")).not_to_be_visible()
    expect(page).to_have_title(TITLE)
    page.wait_for_timeout(500)  # for a request that comes late; `page` looks at them all


def test_top_level_is_short_and_shows_the_blocks(page: Page, graph: str) -> None:
    show(page, graph)
    assert page.locator(".graph-node").count() <= 15
    for name in ("bert.encoder.layer.0", BLOCK, "classifier"):
        expect(page.locator(node(page, name))).to_be_in_viewport(ratio=1)
    assert {"BertLayer_0", "BertLayer_1", "TrainedLinear"} <= set(titles(page))


def test_blocks_adapters_and_trained_modules_have_the_colours_of_the_legend(
    page: Page, graph: str
) -> None:
    show(page, graph)
    lines = page.locator(".legend > div")
    assert lines.all_inner_texts() == [
        "adapter (4)", "trained in full (1)", "block with adapters inside: click ƒ"
    ]  # fmt: skip
    legend = [
        str(swatch.evaluate("element => getComputedStyle(element).backgroundColor"))
        for swatch in page.locator(".legend span").all()
    ]
    seen = [colour(page, "classifier"), colour(page, BLOCK)]
    enter(page, BLOCK)
    assert [colour(page, ADAPTER), *seen] == legend
    plain = colour(page, f"{BLOCK}.attention.self.key")
    assert plain not in legend


def test_adapters_are_seen_inside_their_block(page: Page, graph: str) -> None:
    show(page, graph)
    enter(page, BLOCK)
    for name in ("query", "value"):
        adapter = page.locator(node(page, f"{BLOCK}.attention.self.{name}"))
        expect(adapter).to_be_in_viewport(ratio=1)
        for words in ("LoraLinear", "lora_A", "lora_B", "r = 8"):
            expect(adapter).to_contain_text(words)
    assert titles(page).count("LoraLinear") == 2


def test_adapter_opens_onto_its_two_branches(page: Page, graph: str) -> None:
    show(page, graph)
    enter(page, BLOCK)
    enter(page, ADAPTER)
    assert {"MatMul", "Mul", "Add"} <= set(titles(page))
    inputs = page.locator(".graph-input text").all_text_contents()
    assert {"x", "weight", "bias", "lora_A", "lora_B"} <= set(inputs)
    path = page.locator(".toolbar-path-name-button")
    expect(path).to_have_text(["BertLayer_1", "LoraLinear"])


def test_side_bar_of_an_adapter_tells_what_it_is(page: Page, graph: str) -> None:
    show(page, graph)
    enter(page, BLOCK)
    page.locator(f"{node(page, ADAPTER)} > .node-item").first.click()
    told = properties(page)
    assert told["name"] == ADAPTER
    assert "LoraLinear" in told["type"]
    assert "8" in told["r"].split()
    assert "16" in told["lora_alpha"].split()


def test_values_of_a_weight_can_be_looked_at(page: Page, graph: str, adapted: AdaptedModel) -> None:
    show(page, f"{graph}?node={ADAPTER}")
    line = page.locator(".sidebar-item", has=page.locator('input[value="lora_A"]'))
    line.locator(".sidebar-item-value-button").first.click()
    expect(page.locator("#sidebar")).to_contain_text("adapted.onnx.data")
    weights = dict(adapted.load().named_parameters())
    weight = weights[f"base_model.model.{ADAPTER}.lora_A.default.weight"]
    largest = properties(page)["max"].split()[-1]
    assert float(largest) == pytest.approx(weight.max().item())


def test_link_to_a_node_opens_the_block_around_it(page: Page, graph: str) -> None:
    show(page, f"{graph}?node={ADAPTER}")
    expect(page.locator(f"{node(page, ADAPTER)}.select")).to_be_in_viewport(ratio=1)
    assert properties(page)["name"] == ADAPTER
    page.locator("#toolbar-path-back-button").click()
    expect(page.locator(node(page, BLOCK))).to_be_in_viewport()


def test_link_to_a_node_of_the_top_level_selects_it(page: Page, graph: str) -> None:
    show(page, f"{graph}?node={BLOCK}")
    expect(page.locator(f"{node(page, BLOCK)}.select")).to_be_in_viewport(ratio=1)


def test_link_to_no_node_says_so(page: Page, graph: str) -> None:
    page.goto(f"{graph}?node=<b>nothing</b>")
    expect(page.locator("#message-text")).to_have_text("This graph has no node '<b>nothing</b>'.")
    page.get_by_role("button", name="OK").click()
    expect(page.locator(node(page, BLOCK))).to_be_visible()


def test_hidden_attributes_stay_hidden(page: Page, graph: str) -> None:
    show(page, graph)
    enter(page, BLOCK)
    adapter = page.locator(node(page, ADAPTER))
    expect(adapter).to_contain_text("r = 8")
    page.keyboard.press("Control+d")  # in the menu: Hide Attributes
    expect(adapter).not_to_contain_text("r = 8")
    show(page, graph)
    enter(page, BLOCK)
    expect(adapter).to_contain_text("lora_A")
    expect(adapter).not_to_contain_text("r = 8")


def test_still_opens_in_two_years(page: Page, graph: str) -> None:
    page.clock.set_system_time(datetime.now().astimezone() + timedelta(days=730))
    show(page, graph)
    expect(page.locator(node(page, BLOCK))).to_be_visible()


def test_stock_page_would_not_open_in_two_years(
    chromium: Browser, folder: Path, tmp_path: Path
) -> None:
    """The test before proves something only while this one passes."""
    from pipeline.visualize import installed

    shutil.copytree(folder, tmp_path / "view")
    stock = tmp_path / "view" / "netron" / "index.html"
    shutil.copyfile(installed.find_netron() / "index.html", stock)
    with Server(tmp_path / "view") as server, visit(chromium) as (page, _):
        page.clock.set_system_time(datetime.now().astimezone() + timedelta(days=730))
        page.goto(f"{server.address}netron/")
        expect(page.locator("#message-text")).to_have_text("Please update to the newest version.")


def test_stock_netron_opens_the_graph_down_to_the_adapters(chromium: Browser, folder: Path) -> None:
    from pipeline.visualize import installed

    index = (installed.find_netron() / "index.html").read_text(encoding="utf-8")
    released = re.search(r'<meta name="date" content="([^"]*)"', index)
    assert released
    at = netron.serve(str(folder / "models" / "adapted.onnx"), None)
    here = f"http://localhost:{at[1]}/"
    try:
        with visit(chromium) as (page, _):  # what it asks other machines for is not let through
            page.context.add_cookies([{"name": "consent", "value": "1", "url": here}])
            page.clock.set_system_time(datetime.fromisoformat(released[1]))  # later it refuses
            page.goto(here)
            page.locator(f'[id="node-name-{BLOCK}"]').get_by_text("ƒ").click(timeout=20_000)
            expect(page.locator(f'[id="node-name-{ADAPTER}"]')).to_contain_text("lora_A")
    finally:
        netron.stop(at)


def test_any_web_server_will_do(page: Page, folder: Path) -> None:
    handler = partial(QuietHandler, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/{folder.name}/"
        show(page, f"{here}netron/?node={ADAPTER}")
        expect(page.locator(f"{node(page, ADAPTER)}.select")).to_be_in_viewport(ratio=1)
        expect(page.locator("#message-text")).not_to_be_visible()
        page.goto(here)
        drawn(page)
        page.goto(f"{here}compare.html")
        drawn(page)
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


# --- the report


def drawn(page: Page) -> None:
    """Wait until every graph of a page of ours is drawn."""
    page.locator("html[data-drawn]").wait_for(state="attached")


def inside(page: Page, frame: str = "#graph") -> FrameLocator:
    return page.frame_locator(f"{frame} iframe")


def background(cell: Locator) -> str:
    return str(cell.evaluate("element => getComputedStyle(element).backgroundColor"))


def cell(page: Page, name: str) -> Locator:
    return page.locator(f'#cells a[aria-label^="{name}:"]')


def test_report_shows_figures_heat_map_tree_and_graph(page: Page, address: str) -> None:
    page.goto(address)
    drawn(page)
    expect(page).to_have_title(TITLE)
    expect(page.locator("#figures dt").first).to_have_text("trainable")
    expect(inside(page).locator(node(page, BLOCK))).to_be_visible()
    expect(page.locator("#cells tbody tr")).to_have_count(2)
    expect(page.locator("#tree")).to_contain_text("BertLayer")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "one screen"


def test_heat_map_colours_what_changed_by_how_much(page: Page, address: str) -> None:
    page.goto(address)
    names = [
        f"bert.encoder.layer.{n}.attention.self.{part}" for n in "01" for part in ("query", "value")
    ]
    cells = [cell(page, name) for name in names]
    assert [each.inner_text() for each in cells] == ["1.0 %", "2.0 %", "4.0 %", "8.0 %"]
    assert len({background(each) for each in cells}) == 4
    assert background(cells[3]) == "rgb(253, 231, 37)"  # the last of viridis
    untouched = cell(page, f"{BLOCK}.attention.self.key")
    assert untouched.inner_text() == ""
    expect(page.locator("#scale")).to_contain_text("8.0 %")
    page.get_by_role("radio", name="rank").click()
    assert [each.inner_text() for each in cells] == ["8"] * 4
    assert len({background(each) for each in cells}) == 1
    expect(page.get_by_role("radio", name="rank")).to_be_checked()
    expect(page.get_by_role("radio", name="norm")).to_be_disabled()  # nobody measured it


def test_text_in_the_cells_can_be_read(page: Page, address: str) -> None:
    """Source: WCAG 2.2, contrast ratio, at least 4.5 for text."""
    page.goto(address)
    for name in ("0.attention.self.query", "1.attention.self.query", "1.attention.self.value"):
        this = cell(page, f"bert.encoder.layer.{name}")
        ink = str(this.evaluate("element => getComputedStyle(element).color"))
        light, dark = sorted((luminance(background(this)), luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: str) -> float:
    shares = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_heat_map_is_used_with_the_keyboard(page: Page, address: str) -> None:
    page.goto(address)
    drawn(page)
    cell(page, "bert.encoder.layer.0.attention.self.query").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    value = f"{BLOCK}.attention.self.value"
    expect(cell(page, value)).to_be_focused()
    expect(page.locator("#told strong")).to_have_text(value)
    expect(page.locator("#told")).to_contain_text("target_modules: value")
    page.keyboard.press("Enter")
    expect(inside(page).locator(f"{node(page, value)}.select")).to_be_visible()


def test_tree_is_searched_and_leads_into_the_graph(page: Page, address: str) -> None:
    page.goto(address)
    drawn(page)
    page.get_by_role("searchbox").fill("adapted 1. query")
    expect(page.locator("#found")).to_contain_text("1 of ")
    link = page.locator("#tree a", has_text="query")
    expect(link).to_have_count(2)
    expect(link.nth(1)).to_be_visible()
    expect(link.nth(0)).to_be_hidden()
    link.nth(1).click()
    expect(inside(page).locator(f"{node(page, ADAPTER)}.select")).to_be_in_viewport(ratio=1)
    assert page.url.endswith(f"?node={ADAPTER}")
    page.get_by_role("searchbox").fill("nothing like it")
    expect(page.locator("#found")).to_contain_text("0 of ")


def test_module_that_is_drawn_inside_another_leads_to_that(page: Page, address: str) -> None:
    page.goto(f"{address}?node={BLOCK}.attention.output.dropout")
    expect(inside(page).locator(f"{node(page, BLOCK)}.select")).to_be_visible()
    page.locator("#tree a", has_text="dropout").last.click()


def test_link_with_a_node_opens_it_in_the_report(page: Page, address: str) -> None:
    page.goto(f"{address}index.html?node={ADAPTER}")
    expect(inside(page).locator(f"{node(page, ADAPTER)}.select")).to_be_in_viewport(ratio=1)
    expect(page.locator("#tree .picked, #tree a.picked")).to_be_visible()
    page.locator("#tree a", has_text="classifier").click()
    expect(inside(page).locator(f"{node(page, 'classifier')}.select")).to_be_visible()


def test_every_link_of_the_report_leads_somewhere(page: Page, address: str, folder: Path) -> None:
    page.goto(address)
    links = [str(each.get_attribute("href")) for each in page.locator("#links a").all()]
    names = [link for link in links if not link.startswith("#")]
    assert {"compare.html", "pictures/model.svg", "pictures/block.png"} <= set(names)
    assert all((folder / name).is_file() for name in names)
    page.get_by_role("link", name="All facts").click()
    expect(page.get_by_role("dialog")).to_contain_text("params.trainable")


def test_rows_are_shown_with_their_lengths_and_no_text_is_markup(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#rows")).to_be_hidden()
    page.get_by_role("link", name="Data", exact=True).click()
    rows = page.get_by_role("dialog", name="Data")
    expect(rows.locator("h2")).to_have_text(
        ["Train: 3 rows", "Test: 1 row", "Tokens of the training rows"]
    )
    assert [each.inner_text() for each in rows.locator(".labels").all()] == [
        f"labels:\n{EVIL} 2\ncalm 1", "labels:\ncalm 1",
    ]  # fmt: skip
    first, second = rows.locator("table.shown").all()
    expect(first.locator("th")).to_have_text(["text", "image", "words", "talk", "label", "tokens"])
    expect(second.locator("th")).to_have_text(["text", "image", "words", "talk", "label"])
    cells = first.locator("tbody tr").first.locator("td")
    assert [each.inner_text().split() for each in cells.all()] == [
        EVIL.split(), [], ["Oslo", "B-LOC", "is", "O"], ["user", *EVIL.split(), "assistant", "yes"],
        EVIL.split(), ["7"],
    ]  # fmt: skip
    for image in rows.locator("img").all():  # and no other than those of the rows
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
    assert rows.locator("img").count() == 3
    expect(page.locator("#cut")).to_have_text("1 of 3 (33.3 %) are cut at 12")
    bars = rows.locator("#lengths tr")
    assert [each.inner_text().split() for each in bars.all()] == [
        [str(length), {7: "2", 12: "1"}.get(length, "0")] for length in range(7, 13)
    ]
    widths = [each.bounding_box() for each in rows.locator(".bar-of").all()]
    assert widths[0]
    assert widths[-1]
    assert widths[0]["width"] == pytest.approx(2 * widths[-1]["width"], rel=0.02)
    rows.get_by_role("button", name="close").click()
    expect(rows).to_be_hidden()
    page.goto("about:blank")
    page.goto(f"{address}#data")
    expect(rows).to_be_visible()


def test_report_opens_as_a_file_with_the_picture(page: Page, folder: Path) -> None:
    page.goto((folder / "index.html").as_uri())
    expect(page.locator("#graph")).to_contain_text("python -m http.server")
    picture = page.locator("#graph img").first
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    assert cell(page, ADAPTER).inner_text() == "4.0 %"
    cell(page, ADAPTER).click()
    expect(page.locator("#told strong")).to_have_text(ADAPTER)
    page.goto((folder / "compare.html").as_uri())
    expect(page.locator("#blocks")).to_contain_text("adapter added")


# --- pictures


def test_pictures_are_of_the_graph_and_in_its_colours(folder: Path) -> None:
    names = {file.name for file in (folder / "pictures").iterdir()}
    assert names == {"model.svg", "model.png", "block.svg", "block.png"}
    model, block = (
        (folder / "pictures" / f"{name}.svg").read_text() for name in ("model", "block")
    )
    assert "BertLayer_1" in model
    assert "LoraLinear" in block
    assert "fill: rgb(194, 65, 12)" in block  # an adapter
    for name in ("model", "block"):
        assert (folder / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


# --- two graphs side by side


@pytest.fixture
def both(page: Page, address: str) -> tuple[FrameLocator, FrameLocator]:
    """The base and the adapted model on the page that compares."""
    page.goto(f"{address}compare.html")
    drawn(page)
    return inside(page, "#left"), inside(page, "#right")


def height(frame: FrameLocator, selector: str, pane: Locator) -> float:
    """Return how far below the top of its pane the head of a node is, in pixels."""
    box, around = frame.locator(selector).bounding_box(), pane.bounding_box()
    assert box
    assert around
    return box["y"] - around["y"]


def wait_until_level(page: Page, both: tuple[FrameLocator, FrameLocator], name: str) -> None:
    """Wait until a node is equally high on both sides."""
    panes = page.locator("#left"), page.locator("#right")
    places: list[float] = []
    for _ in range(50):
        pairs = zip(both, panes, strict=True)
        places = [height(frame, node(page, name), pane) for frame, pane in pairs]
        if abs(places[0] - places[1]) <= 2:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{name} is at {places}")


@pytest.mark.parametrize("leads", [0, 1])
def test_block_opened_on_one_side_opens_on_the_other_and_closes_with_it(
    page: Page, both: tuple[FrameLocator, FrameLocator], leads: int
) -> None:
    both[leads].locator(node(page, BLOCK)).get_by_text("ƒ", exact=True).click()
    for each in both:
        expect(each.locator(node(page, ADAPTER))).to_be_visible()
    both[1 - leads].locator("#toolbar-path-back-button").click()
    for each in both:
        expect(each.locator(node(page, BLOCK))).to_be_visible()


def test_what_a_person_did_here_is_not_undone_by_what_the_other_side_said_before(
    page: Page, both: tuple[FrameLocator, FrameLocator]
) -> None:
    place = both[0].locator(node(page, BLOCK))
    place.hover()  # an input: this side leads from now on
    page.evaluate(
        """path => document.querySelector("#left iframe").contentWindow.postMessage(
            {graft: true, is: "follow", turn: 0, path, zoom: 1, anchors: []}, location.origin
        )""",
        [BLOCK],
    )
    page.wait_for_timeout(300)
    expect(place).to_be_visible()
    expect(both[0].locator(node(page, ADAPTER))).to_have_count(0)


def test_graphs_pan_and_zoom_together(page: Page, both: tuple[FrameLocator, FrameLocator]) -> None:
    for each in both:
        each.locator(node(page, BLOCK)).wait_for()
    before = both[0].locator(node(page, BLOCK)).bounding_box()
    assert before
    place = both[1].locator(node(page, BLOCK)).bounding_box()
    assert place
    page.mouse.move(place["x"], place["y"])
    page.keyboard.down("Shift")
    page.mouse.wheel(0, -300)  # zoom
    page.keyboard.up("Shift")
    page.wait_for_timeout(300)
    page.mouse.wheel(0, 60)  # pan
    wait_until_level(page, both, BLOCK)
    after = both[0].locator(node(page, BLOCK)).bounding_box()
    assert after
    assert after["width"] > 1.1 * before["width"]
    assert after["y"] != before["y"]


def test_block_that_the_other_side_lacks_is_said(
    page: Page, both: tuple[FrameLocator, FrameLocator]
) -> None:
    both[1].locator(node(page, "classifier")).get_by_text("ƒ", exact=True).click()
    expect(both[1].locator(node(page, BLOCK))).to_have_count(0)
    if both[0].locator(node(page, "classifier")).count() == 0:
        expect(page.locator("#left .note")).to_have_text("cannot open classifier here")
        expect(both[0].locator(node(page, BLOCK))).to_be_visible()


def test_both_sides_have_the_colours_of_the_legend(
    page: Page, both: tuple[FrameLocator, FrameLocator]
) -> None:
    lines = page.locator("#legend li")
    assert [line.partition(" (")[0] for line in lines.all_inner_texts()] == [
        "adapter added", "trained in full", "untouched", "block around them: click ƒ",
    ]  # fmt: skip
    added, _, untouched, block = (background(each) for each in lines.locator(".swatch").all())
    for frame in both:
        expect(frame.locator(".legend")).to_have_count(0)
        assert fill(frame, node(page, BLOCK)) == block
    both[1].locator(node(page, BLOCK)).get_by_text("ƒ", exact=True).click()
    for frame in both:
        frame.locator(node(page, ADAPTER)).wait_for()
        assert fill(frame, node(page, ADAPTER)) == added
        assert fill(frame, node(page, f"{BLOCK}.attention.self.key")) == untouched


def fill(frame: FrameLocator, selector: str) -> str:
    title = frame.locator(f"{selector} > .node-item > path").first
    return str(title.evaluate("element => getComputedStyle(element).fill"))


def test_list_opens_a_module_on_both_sides(
    page: Page, both: tuple[FrameLocator, FrameLocator]
) -> None:
    expect(page.locator("#found")).to_contain_text("5 of ")
    page.get_by_role("button", name="show untouched").click()
    expect(page.locator("#found")).not_to_contain_text("5 of ")
    page.get_by_role("searchbox").fill(f"{BLOCK}.attention.self.query")
    page.locator("#blocks a:visible").click()
    for frame in both:  # whole, but for what the browser rounds
        expect(frame.locator(f"{node(page, ADAPTER)}.select")).to_be_in_viewport(ratio=0.999)


def test_two_runs_are_shown_side_by_side(page: Page, folder: Path, tmp_path: Path) -> None:
    made = compare(folder, folder, tmp_path)
    with Server(made) as server:
        page.goto(server.address)
        drawn(page)
        left, right = inside(page, "#left"), inside(page, "#right")
        expect(page.locator("#legend")).to_contain_text("set alike (5)")
        left.locator(node(page, BLOCK)).get_by_text("ƒ", exact=True).click()
        expect(right.locator(node(page, ADAPTER))).to_be_visible()


# --- all of it, by the script


def browse(*views: Path) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parent.parent / "scripts" / "browse"
    command = [sys.executable, str(script), *map(str, views)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("chromium")
def test_script_that_looks_at_views_finds_them_right_and_says_how_long_they_took(
    folder: Path, tmp_path: Path
) -> None:
    done = browse(folder, compare(folder, folder, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        rf"^ok .*{folder}: report \d\.\d\d s, graph .*{ADAPTER.replace('1', '0')}", done.stdout
    )
    assert done.stdout.count("0 requests to other hosts") == 2
    assert done.stdout.endswith("2 of 2 views are right\n")


@pytest.mark.usefixtures("chromium")
@pytest.mark.parametrize(
    ("file", "was", "is_now", "said"),
    [
        ("netron/preset.js", "add(`:is(", "void (`:is(", "is rgb("),
        pytest.param(
            "netron/sync.js",
            "view._updateTarget(",
            "Boolean(",
            "compare: ",
            marks=pytest.mark.slow,  # waits for what does not come
        ),
        ("page/page.js", "'use strict';", "fetch('http://192.0.2.1/');", "192.0.2.1"),
        ("page/report.js", "placement.json", "nothing.json", "links to nothing.json"),
    ],
)
def test_script_that_looks_at_views_finds_what_is_wrong(
    file: str, was: str, is_now: str, said: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "view")
    source = (tmp_path / "view" / file).read_text(encoding="utf-8")
    assert was in source
    (tmp_path / "view" / file).write_text(source.replace(was, is_now), encoding="utf-8")
    done = browse(tmp_path / "view")
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout
    assert done.stdout.endswith("0 of 1 views are right\n")


# --- time


@pytest.mark.parametrize("path", ["netron/", "", "compare.html"])
def test_view_is_drawn_within_two_seconds(page: Page, address: str, path: str) -> None:
    """Twelve layers take as long as two, to a tenth; docs/measurements.md has the figures."""
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        page.goto(f"{address}{path}")
        drawn(page)
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 2
