"""What a person sees: the real folder, our real server, headless Chromium.

Netron's page is not an interface anybody promised to keep. These tests find out when it moves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
import torch
from playwright.sync_api import Browser, Error, Page, Request, Route, expect, sync_playwright

from pipeline.artifacts import AdaptedModel, ExportedModel
from pipeline.export.graph import fold, save, trace
from pipeline.visualize import Netron
from pipeline.visualize.server import Server

pytestmark = pytest.mark.browser

BLOCK = "bert.encoder.layer.1"
ADAPTER = f"{BLOCK}.attention.self.query"
TITLE = "Tiny BERT & LoRA"

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
    export, folder = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("visualize")
    inputs = {name: torch.ones(2, 8, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    axes = {name: {0: "batch", 1: "tokens"} for name in inputs}
    flat = trace(adapted.load(), inputs, axes, opset=20)
    save(flat, export / "adapted.onnx", weights="adapted.onnx.data")
    view = fold(flat, adapted.placement, title=TITLE, facts={})
    save(view, export / "view.onnx", weights="adapted.onnx.data")
    given = ExportedModel(
        view=export / "view.onnx", adapted=export / "adapted.onnx", merged=export,
        merged_model=export, adapter=export, parity=export, largest_difference=0.0,
        test_metrics={"accuracy": 1.0, "macro_f1": 1.0},
    )  # fmt: skip
    return Netron(open="never", port=0, weights=True).run(given, folder).folder


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
        if urlsplit(request.url).hostname in ("localhost", "127.0.0.1") or "data:" in request.url:
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
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status != 200 else None)
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


def test_whole_graph_opens_with_no_wall_and_no_word_to_others(page: Page, address: str) -> None:
    show(page, address)
    expect(page.locator("#message-text")).not_to_be_visible()
    expect(page).to_have_title(TITLE)
    page.wait_for_timeout(500)  # for a request that comes late; `page` looks at them all


def test_top_level_is_short_and_shows_the_blocks(page: Page, address: str) -> None:
    show(page, address)
    assert page.locator(".graph-node").count() <= 15
    for name in ("bert.encoder.layer.0", BLOCK, "classifier"):
        expect(page.locator(node(page, name))).to_be_in_viewport(ratio=1)
    assert {"BertLayer_0", "BertLayer_1", "TrainedLinear"} <= set(titles(page))


def test_blocks_adapters_and_trained_modules_have_the_colours_of_the_legend(
    page: Page, address: str
) -> None:
    show(page, address)
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


def test_adapters_are_seen_inside_their_block(page: Page, address: str) -> None:
    show(page, address)
    enter(page, BLOCK)
    for name in ("query", "value"):
        adapter = page.locator(node(page, f"{BLOCK}.attention.self.{name}"))
        expect(adapter).to_be_in_viewport(ratio=1)
        for words in ("LoraLinear", "lora_A", "lora_B", "r = 8"):
            expect(adapter).to_contain_text(words)
    assert titles(page).count("LoraLinear") == 2


def test_adapter_opens_onto_its_two_branches(page: Page, address: str) -> None:
    show(page, address)
    enter(page, BLOCK)
    enter(page, ADAPTER)
    assert {"MatMul", "Mul", "Add"} <= set(titles(page))
    inputs = page.locator(".graph-input text").all_text_contents()
    assert {"x", "weight", "bias", "lora_A", "lora_B"} <= set(inputs)
    path = page.locator(".toolbar-path-name-button")
    expect(path).to_have_text(["BertLayer_1", "LoraLinear"])


def test_side_bar_of_an_adapter_tells_what_it_is(page: Page, address: str) -> None:
    show(page, address)
    enter(page, BLOCK)
    page.locator(f"{node(page, ADAPTER)} > .node-item").first.click()
    told = properties(page)
    assert told["name"] == ADAPTER
    assert "LoraLinear" in told["type"]
    assert "8" in told["r"].split()
    assert "16" in told["lora_alpha"].split()


def test_values_of_a_weight_can_be_looked_at(
    page: Page, address: str, adapted: AdaptedModel
) -> None:
    show(page, f"{address}?node={ADAPTER}")
    line = page.locator(".sidebar-item", has=page.locator('input[value="lora_A"]'))
    line.locator(".sidebar-item-value-button").first.click()
    expect(page.locator("#sidebar")).to_contain_text("adapted.onnx.data")
    weights = dict(adapted.load().named_parameters())
    weight = weights[f"base_model.model.{ADAPTER}.lora_A.default.weight"]
    largest = properties(page)["max"].split()[-1]
    assert float(largest) == pytest.approx(weight.max().item())


def test_link_to_a_node_opens_the_block_around_it(page: Page, address: str) -> None:
    show(page, f"{address}?node={ADAPTER}")
    expect(page.locator(f"{node(page, ADAPTER)}.select")).to_be_in_viewport(ratio=1)
    assert properties(page)["name"] == ADAPTER
    page.locator("#toolbar-path-back-button").click()
    expect(page.locator(node(page, BLOCK))).to_be_in_viewport()


def test_link_to_a_node_of_the_top_level_selects_it(page: Page, address: str) -> None:
    show(page, f"{address}?node={BLOCK}")
    expect(page.locator(f"{node(page, BLOCK)}.select")).to_be_in_viewport(ratio=1)


def test_link_to_no_node_says_so(page: Page, address: str) -> None:
    page.goto(f"{address}?node=<b>nothing</b>")
    expect(page.locator("#message-text")).to_have_text("This graph has no node '<b>nothing</b>'.")
    page.get_by_role("button", name="OK").click()
    expect(page.locator(node(page, BLOCK))).to_be_visible()


def test_hidden_attributes_stay_hidden(page: Page, address: str) -> None:
    show(page, address)
    enter(page, BLOCK)
    adapter = page.locator(node(page, ADAPTER))
    expect(adapter).to_contain_text("r = 8")
    page.keyboard.press("Control+d")  # in the menu: Hide Attributes
    expect(adapter).not_to_contain_text("r = 8")
    show(page, address)
    enter(page, BLOCK)
    expect(adapter).to_contain_text("lora_A")
    expect(adapter).not_to_contain_text("r = 8")


def test_still_opens_in_two_years(page: Page, address: str) -> None:
    page.clock.set_system_time(datetime.now().astimezone() + timedelta(days=730))
    show(page, address)
    expect(page.locator(node(page, BLOCK))).to_be_visible()


def test_stock_page_would_not_open_in_two_years(
    chromium: Browser, folder: Path, tmp_path: Path
) -> None:
    """The test before proves something only while this one passes."""
    from pipeline.visualize import netron

    for file in folder.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    shutil.copyfile(netron._installed() / "index.html", tmp_path / "index.html")
    with Server(tmp_path) as server, visit(chromium) as (page, _):
        page.clock.set_system_time(datetime.now().astimezone() + timedelta(days=730))
        page.goto(server.address)
        expect(page.locator("#message-text")).to_have_text("Please update to the newest version.")


def test_any_web_server_will_do(page: Page, folder: Path) -> None:
    handler = partial(QuietHandler, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        show(page, f"http://127.0.0.1:{server.server_port}/{folder.name}/?node={ADAPTER}")
        expect(page.locator(f"{node(page, ADAPTER)}.select")).to_be_in_viewport(ratio=1)
        expect(page.locator("#message-text")).not_to_be_visible()
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass
