// Runs before Netron, which it sets up through what a browser gives every page and through the
// global `__view__`. Not part of Netron.

(() => {
    'use strict';

    const READABLE = 0.7; // the smallest zoom at which the text in a node can be read

    // Netron asks to accept cookies and telemetry. Here it sends none, so there is nothing to ask.
    document.cookie = 'consent=1; SameSite=Strict; Max-Age=31536000';

    // Show attributes, so that an adapter says its rank in the graph. Once: what the user then
    // chooses in Netron's menu stays.
    try {
        if (!localStorage.getItem('preset')) {
            localStorage.setItem('options', JSON.stringify({ attributes: true }));
            localStorage.setItem('preset', 'done');
        }
    } catch {
        // the browser keeps no settings for this page
    }

    const legend = JSON.parse(document.currentScript.dataset.legend);

    const addLegend = () => {
        const box = document.createElement('div');
        box.className = 'legend';
        for (const { colour, text } of legend) {
            const line = document.createElement('div');
            const swatch = document.createElement('span');
            swatch.style.background = colour;
            line.append(swatch, text);
            box.append(line);
        }
        document.body.append(box);
    };

    // Zoom out until the whole graph is in sight, or to the last zoom that can be read.
    const fit = (view) => {
        const target = document.getElementById('target');
        const canvas = document.getElementById('canvas');
        const tall = target.clientHeight / Number(canvas.getAttribute('height'));
        const wide = target.clientWidth / Number(canvas.getAttribute('width'));
        view.target.zoom = Math.max(READABLE, Math.min(1, tall, wide));
        target.scrollTop = 0; // where the inputs are
    };

    // The nodes to open, outermost first, to get to the node of that name; the last is the node.
    const pathTo = (name, graph, seen) => {
        const found = graph.nodes.find((node) => node.name === name);
        if (found) {
            return [found];
        }
        for (const node of graph.nodes) {
            const inside = node.type;
            if (inside && Array.isArray(inside.nodes) && !seen.has(inside)) {
                seen.add(inside);
                const rest = pathTo(name, inside, seen);
                if (rest) {
                    return [node, ...rest];
                }
            }
        }
        return null;
    };

    const select = async (view, name) => {
        const path = pathTo(name, view.activeTarget, new Set());
        if (!path) {
            await view.host.message(`This graph has no node '${name}'.`, null, 'OK');
            return;
        }
        const node = path.pop();
        for (const outer of path) {
            await view.pushTarget(outer.type, outer);
        }
        view.target.scrollTo(view.target.activate(node, 'target'), 'instant');
    };

    const start = async () => {
        const view = window.__view__;
        if (!view || !view.target) {
            window.setTimeout(start, 50); // Netron still reads the file or lays it out
            return;
        }
        fit(view);
        const push = view.pushTarget.bind(view);
        view.pushTarget = async (graph, context) => {
            const before = view.activeTarget;
            await push(graph, context);
            if (view.target && view.activeTarget !== before) {
                fit(view);
            }
        };
        const name = new URLSearchParams(window.location.search).get('node');
        if (name) {
            await select(view, name);
        }
    };

    document.addEventListener('DOMContentLoaded', addLegend);
    window.addEventListener('load', start);
})();
